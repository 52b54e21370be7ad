"""lsvit-train serve: a page on this machine alone, where a video is given and answers come with heatmaps."""
