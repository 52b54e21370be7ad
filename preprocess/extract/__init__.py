"""hmdb-prep extract, merge and verify: videos into shards and manifests."""
