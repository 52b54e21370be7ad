"""hmdb-prep fetch: an archive into folders of videos."""
