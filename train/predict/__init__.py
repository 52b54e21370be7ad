"""lsvit-train predict: P(action | video) from raw video."""
