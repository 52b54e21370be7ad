"""What hmdb-prep and lsvit-train must do identically: classes, sampling, decoding, shards, manifests, splits."""

from shared.terminal.startup import refuse_windows

refuse_windows()  # here, as every program comes by here before it imports what Windows lacks
