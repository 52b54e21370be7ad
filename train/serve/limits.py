"""How much the page takes: bounds of uploads, of what waits and of what is kept."""

from __future__ import annotations

MOST_MEGABYTES = 200
MOST_SECONDS = 120
"""Of a video: the model answers for a short clip."""
DECODING_SECONDS = 60.0
"""After which a video that still is not decoded is given up."""
MOST_WAITING = 6
"""Videos that wait or are on their way here."""
MOST_KEPT = 12
"""Answers that can still be looked at; older ones are forgotten."""
