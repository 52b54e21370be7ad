"""lsvit-train probe: a head on the frame features of a frozen backbone, which are computed once."""
