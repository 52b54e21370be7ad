"""lsvit-train describe: the architecture, stage by stage."""
