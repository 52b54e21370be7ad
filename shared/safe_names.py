"""Names read from a file that are about to become paths: none may lead out of the folder that it is joined to."""

from __future__ import annotations


def check_name(text: str, *, num_parts: int | None = 1) -> None:
    """Raise ValueError unless ``text`` is a relative path of ``num_parts`` plain names (None: any number).

    Refused are empty parts, ``.``, ``..``, control characters and parts of more than 255 bytes: no extraction writes
    them.
    """
    parts = text.split("/")
    if num_parts is not None and len(parts) != num_parts:
        raise ValueError(f"{text!r} is not {'a name' if num_parts == 1 else 'a folder and a name'}")
    if any(len(part.encode(errors="replace")) > 255 for part in parts):
        raise ValueError(f"{text[:60]!r}... is longer than file names can be")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{text!r} leads out of its folder")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"{text!r} has control characters")


def check_clip_names(*, class_name: str, clip_id: str, path: str, shard: str) -> None:
    """Raise ValueError unless what a manifest row names stays inside the folders of videos, manifests and shards.

    A clip's own name may hold slashes, path and shard may be empty: no extraction makes that, but none leads out.
    """
    check_name(class_name)
    check_name(clip_id, num_parts=None)
    if not clip_id.startswith(f"{class_name}/"):
        raise ValueError(f"{clip_id!r} is no clip of class {class_name!r}")
    if path:
        check_name(path, num_parts=None)
    if shard:
        check_name(shard)
