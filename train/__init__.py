"""lsvit-train: shards and manifests -> LS-ViT -> metrics, predictions and heatmaps."""
