"""hmdb-prep: videos -> exact clip shards and manifests -> report and balancing plan."""
