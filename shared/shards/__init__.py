"""The shard format: layout, writer, reader."""
