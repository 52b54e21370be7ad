"""lsvit-train compare: several runs side by side, and which clips changed sides."""
