"""lsvit-train run: a training run from its flags to its folder."""
