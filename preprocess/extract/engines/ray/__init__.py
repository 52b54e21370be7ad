"""What is Ray's own: a cluster's connection, extraction in its tasks, and reading in them."""
