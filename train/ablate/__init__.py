"""lsvit-train ablate: the effect of each improvement as one table."""
