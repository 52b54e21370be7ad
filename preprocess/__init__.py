"""hmdb-prep: videos -> exact clip shards and manifests -> report and balancing plan."""

from hmdb51_lsvit.names import check_names

check_names("shared")  # `python -m` puts the current folder first, where a user may have a shared.py
