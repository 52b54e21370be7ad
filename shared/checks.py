"""Whether what was read from a file has the types that its dataclass asks for: JSON promises nothing of the kind."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def parse_json(text: str) -> Any:
    """What a JSON text says. Raises ValueError where it is none, or nested so deeply that no file of ours is meant."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_fields(value: DataclassInstance) -> None:
    """Check the fields of a dataclass instance, nested ones too, against their annotations.

    Known: str (that can be encoded), int, float (an int will do), bool, Literal of texts, X | None, tuple[X, ...],
    tuple[X, Y], dict[str, X] and dataclasses.
    Raises TypeError that names the first field that holds another type.
    """
    for name, annotation in _annotations(type(value)).items():
        content = getattr(value, name)
        if not _fits(content, annotation):
            raise TypeError(f"{name} is {content!r}")


@cache
def _annotations(kind: type[DataclassInstance]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _fits(content: object, annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is UnionType:
        return any(_fits(content, kind) for kind in arguments)
    if origin is Literal:
        return isinstance(content, str) and content in arguments
    if origin is dict:
        return isinstance(content, dict) and all(
            _fits(key, str) and _fits(item, arguments[1]) for key, item in content.items()
        )
    if origin is tuple:
        if not isinstance(content, tuple):
            return False
        kinds = arguments[:1] * len(content) if arguments[1:] == (...,) else arguments
        return len(kinds) == len(content) and all(map(_fits, content, kinds))
    if dataclasses.is_dataclass(annotation):
        if not isinstance(content, annotation):  # type: ignore[arg-type]
            return False
        check_fields(content)
        return True
    if annotation is None or annotation is type(None):
        return content is None
    if annotation in (int, float) and isinstance(content, bool):
        return False
    if isinstance(content, str) and not _is_unicode(content):
        return False
    return isinstance(content, (int, float) if annotation is float else annotation)


def _is_unicode(text: str) -> bool:
    """Whether a text can be written anywhere: JSON's escapes can name halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
