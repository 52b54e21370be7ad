"""Whether what was read from a file is what its dataclass asks for, and names are names: JSON promises neither."""

from __future__ import annotations

import json
import re
from numbers import Integral
from typing import Any, TypeVar

import msgspec

Instance = TypeVar("Instance")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_NAMES = frozenset(("", ".", ".."))
FORMULA_SIGNS = ("=", "+", "-", "@")  # a cell that begins with one is run by a spreadsheet


def parse_json(text: str) -> Any:
    """What a JSON text says. Raises ValueError where it is none, or nested so deeply that no file of ours is meant."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def from_builtins(kind: type[Instance], values: object) -> Instance:
    """The dataclass ``kind``, with those within it, from the dicts, lists, texts and numbers that a file gave.

    Lists become tuples, and whole numbers become floats, where a field asks for it; nothing else is converted.
    Raises ValueError that names the field where one is missing, unknown, of another type or a text with half a
    character, which JSON's escapes can make; whatever ``__post_init__`` raises otherwise.
    """
    instance = msgspec.convert(values, kind)
    _check_known(values, msgspec.to_builtins(instance), "")
    return instance


def _check_known(given: Any, known: Any, place: str) -> None:
    """Raise ValueError for what ``known`` lacks of ``given``, msgspec skips it, and for halves of characters."""
    if isinstance(given, dict):
        for key, item in given.items():
            if key not in known:
                raise ValueError(f"{place}{key} is unknown")
            _check_known(key, key, f"{place}{key!r}.")
            _check_known(item, known[key], f"{place}{key}.")
    elif isinstance(given, list | tuple):
        for item, known_item in zip(given, known, strict=True):
            _check_known(item, known_item, place)
    elif isinstance(given, str) and any("\ud800" <= character <= "\udfff" for character in given):
        raise ValueError(f"{place[:-1]} is {given!r}")


def is_whole(value: object, *, low: int, high: int) -> bool:
    """Whether a value is a whole number, of Python or of NumPy, from ``low`` to ``high``."""
    return isinstance(value, Integral) and low <= int(value) <= high


def check_name(text: str, *, num_parts: int | None = 1) -> None:
    """Raise ValueError unless ``text`` is a relative path of ``num_parts`` plain names (None: any number).

    Refused are empty parts, ``.``, ``..``, control characters and parts of more than 255 bytes: no extraction writes
    them.
    """
    parts = text.split("/")
    if num_parts is not None and len(parts) != num_parts:
        raise ValueError(f"{text!r} is not {'a name' if num_parts == 1 else 'a folder and a name'}")
    if len(text) > 63 and any(len(part.encode(errors="replace")) > 255 for part in parts):
        raise ValueError(f"{text[:60]!r}... is longer than file names can be")
    if not _NO_NAMES.isdisjoint(parts):
        raise ValueError(f"{text!r} leads out of its folder")
    if _CONTROL.search(text):
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
