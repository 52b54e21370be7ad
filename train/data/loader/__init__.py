"""Clips read from open shards, as batches in an epoch's order, ahead of the step that takes them."""
