"""HTML pages that open from disk, with their tables, figures and letters."""
