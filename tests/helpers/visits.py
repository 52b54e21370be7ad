"""HTML pages opened from disk in a real browser, with everything noted that they ask for or complain of."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


@contextmanager
def open_browser(*arguments: str) -> Iterator[Any]:
    """A browser, started with more arguments; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as session:
        chromium = session.chromium.launch(executable_path=found, args=[*ARGUMENTS, *arguments])
        yield chromium
        chromium.close()


class Visit:
    """A page opened from disk, with everything noted that it asked for or complained of."""

    def __init__(self, browser: Any, path: Path, *, width: int = 1280) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        started = time.perf_counter()
        self.page.goto(path.as_uri())
        self.seconds = time.perf_counter() - started

    def column(self, table: str, index: int) -> list[str]:
        """The texts of a column of the table of this name."""
        cells = self.page.locator(f"#table-{table} tbody tr td:nth-child({index + 1})")
        return [text.strip() for text in cells.all_text_contents()]

    def foreign_requests(self, path: Path) -> list[str]:
        """What was asked for beside the page itself and pictures in it."""
        return [url for url in self.requests if not url.startswith("data:") and url != path.as_uri()]
