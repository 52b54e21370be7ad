"""lsvit-train explain: what the model looks at."""
