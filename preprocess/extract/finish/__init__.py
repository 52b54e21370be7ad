"""What follows when shards are written: they are merged into one data set, and verified."""
