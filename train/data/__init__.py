"""From shards to batches: order, augmentation, mixing, views."""
