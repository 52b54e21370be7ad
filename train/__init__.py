"""lsvit-train: shards and manifests -> LS-ViT -> metrics, predictions and heatmaps."""

from hmdb51_lsvit.names import check_names

check_names("shared")  # `python -m` puts the current folder first, where a user may have a shared.py
