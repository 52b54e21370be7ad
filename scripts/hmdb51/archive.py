"""Which archive the videos came from: the official one, another, or none."""

from __future__ import annotations

from pathlib import Path

from preprocess.fetch.command import OFFICIAL_SHA256
from preprocess.fetch.download import archive_name
from scripts.hmdb51.journal import Journal
from scripts.hmdb51.options import Options
from shared.files import sha256_of


def archive_sha256(options: Options) -> str:
    """SHA-256 of the archive that was fetched, in hexadecimal; empty where the source is a folder or is gone."""
    source = options.source
    if source.startswith(("http://", "https://")):
        file = Path(options.videos).absolute().parent / archive_name(source)
    else:
        file = Path(source).expanduser()
    return sha256_of(file) if file.is_file() else ""


def archive_sentence(journal: Journal) -> str:
    """What is known of the archive."""
    if not journal.archive_sha256:
        return f"unknown: the videos came from {journal.source}"
    word = "the official one" if journal.archive_sha256 == OFFICIAL_SHA256 else "not the official one"
    return f"{word}, SHA-256 {journal.archive_sha256}"
