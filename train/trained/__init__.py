"""A trained model read back from its run, and what is taken from it."""
