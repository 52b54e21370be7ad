"""Types of what was read from JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from shared.checks import check_fields


@dataclass(frozen=True, kw_only=True)
class Inner:
    name: str = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    number: int = 1
    share: float = 0.5
    flag: bool = True
    counts: dict[str, int] = dataclasses.field(default_factory=lambda: {"a": 1})
    members: tuple[Inner, ...] = (Inner(), Inner())
    colour: tuple[float, float, float] = (0.0, 1, 2.0)


def test_right_types_pass() -> None:
    check_fields(Outer())
    check_fields(Outer(share=3, members=()))


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("number", "1"), ("number", True), ("number", 1.0), ("share", "x"), ("share", None), ("flag", 1),
        ("counts", {"a": "1"}), ("counts", {1: 1}), ("counts", []), ("members", [Inner()]), ("members", ("a",)),
        ("colour", (0.0, 1.0)), ("colour", "abc"),
    ],
)  # fmt: skip
def test_wrong_types_are_named(field: str, content: object) -> None:
    with pytest.raises(TypeError, match=f"{field} is "):
        check_fields(dataclasses.replace(Outer(), **{field: content}))  # type: ignore[arg-type]


def test_nested_fields_are_checked() -> None:
    with pytest.raises(TypeError, match="name is 5"):
        check_fields(Outer(members=(Inner(name=5),)))  # type: ignore[arg-type]
