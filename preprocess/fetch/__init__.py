"""hmdb-prep fetch: an archive, a folder or an address into folders of videos."""
