"""Extracts clips in a worker process that may take little more memory than it has."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from preprocess.extract.clips import ClipJob, MeasuredClip, extract_clip
from shared.manifests.files import QuarantineRow

SPARE_BYTES = 160 * 1024**2


def extract_with_little_memory(job: ClipJob) -> MeasuredClip | QuarantineRow:
    """``extract_clip`` with SPARE_BYTES of address space left."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft = pages * os.sysconf("SC_PAGE_SIZE") + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))
    return extract_clip(job)
