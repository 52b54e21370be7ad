"""The report that a run leaves in its folder."""
