"""The page itself: where a video is given, and where its answer is shown."""

from __future__ import annotations

from collections.abc import Sequence

from shared.pages.page import render_page
from train.serve.limits import MOST_MEGABYTES, MOST_SECONDS


def serve_page(*, token: str, class_names: Sequence[str], origin: str, notes: Sequence[str]) -> str:
    """The HTML. token: what the page's requests have to bear. origin: which run answers. notes: sentences about it."""
    content = {
        "token": token,
        "class_names": class_names,
        "origin": origin,
        "notes": notes,
        "most_megabytes": MOST_MEGABYTES,
        "most_seconds": MOST_SECONDS,
    }
    return render_page("train.serve", "serve", content)
