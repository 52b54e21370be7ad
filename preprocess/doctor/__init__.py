"""hmdb-prep doctor: what this machine has and lacks."""
