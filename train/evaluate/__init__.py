"""lsvit-train evaluate: accuracies of a run on test clips."""
