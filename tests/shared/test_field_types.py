"""Dataclasses from what JSON gives: types, keys and texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from shared.checks import from_builtins, parse_json


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    number: int
    share: float = 0.5
    flag: bool = True
    kind: Literal["real", "synthetic"] = "real"
    counts: dict[str, int]
    members: tuple[Inner, ...]
    colour: tuple[float, float, float] | None = None


VALUES: dict[str, Any] = {
    "number": 1, "share": 0.25, "flag": False, "kind": "synthetic", "counts": {"a": 1}, "members": [{"name": "b"}, {}],
    "colour": [0.0, 1, 2.0],
}  # fmt: skip


def test_lists_become_tuples_and_nested_dicts_dataclasses() -> None:
    assert from_builtins(Outer, parse_json(json.dumps(VALUES))) == Outer(
        number=1,
        share=0.25,
        flag=False,
        kind="synthetic",
        counts={"a": 1},
        members=(Inner(name="b"), Inner()),
        colour=(0.0, 1.0, 2.0),
    )


def test_whole_numbers_are_floats_and_defaults_may_be_left_out() -> None:
    outer = from_builtins(Outer, {"number": 2**70, "share": 3, "counts": {}, "members": ()})
    assert outer == Outer(number=2**70, share=3.0, counts={}, members=()) and isinstance(outer.share, float)


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("number", "1"), ("number", True), ("number", 1.0), ("number", None), ("share", "x"), ("share", None),
        ("share", True), ("flag", 1), ("kind", "other"), ("counts", {"a": "1"}), ("counts", []), ("members", ["a"]),
        ("members", {}), ("members", [{"name": 5}]), ("members", None), ("colour", [0.0, 1.0]), ("colour", "abc"),
        ("number", json.loads("[" * 500 + "]" * 500)),
    ],
)  # fmt: skip
def test_wrong_types_are_named(field: str, content: object) -> None:
    with pytest.raises(ValueError, match=rf"at `\$\.{field}"):
        from_builtins(Outer, VALUES | {field: content})


@pytest.mark.parametrize("content", [None, 1, "text", [], [1, 2]])
def test_what_is_no_object_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match="Expected `object`"):
        from_builtins(Outer, content)


def test_missing_and_unknown_fields_are_named() -> None:
    with pytest.raises(ValueError, match="missing required field `number`"):
        from_builtins(Outer, {"counts": {}, "members": []})
    with pytest.raises(ValueError, match=r"^colours is unknown"):
        from_builtins(Outer, VALUES | {"colours": 1})
    with pytest.raises(ValueError, match=r"^members\.size is unknown"):
        from_builtins(Outer, VALUES | {"members": [{}, {"size": 1}]})


@pytest.mark.parametrize("changes", [{"members": [{"name": "\ud800"}]}, {"counts": {"\udfff": 1}}])
def test_halves_of_characters_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^(members\.name|counts\.'\\udfff') is '\\ud"):
        from_builtins(Outer, VALUES | changes)
