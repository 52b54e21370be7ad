"""The CSV and JSON files beside the shards: what they hold, written and read."""
