"""What hmdb-prep and lsvit-train must do identically: classes, sampling, decoding, shards, manifests, splits."""
