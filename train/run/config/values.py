"""What a flag says about itself, and whether a value given for it is one it can take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from shared.errors import UsageError

Value = bool | int | float | str | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Flag:
    """What a field says about itself."""

    help: str
    choices: tuple[str, ...] = ()
    """The texts that are allowed; empty: any."""
    least: float = -math.inf
    most: float = math.inf


def checked(key: str, value: Any, kind: type, flag: Flag, *, name: str = "") -> Value:
    """The value as the flag's type. Raises UsageError where it is none or out of bounds.

    name: what the error calls it, such as --val-fraction; empty: the key.
    """
    name = name or key
    if key == "split" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # TOML's natural way to write split = 1
    converted = _converted(value, kind)
    if converted is None:
        raise UsageError(f"{name} is {value!r}; expected {_kind_name(kind)}")
    if flag.choices and converted not in flag.choices:
        raise UsageError(f"{name} is {converted!r}; it must be one of {', '.join(flag.choices)}")
    numbers = converted if isinstance(converted, tuple) else (converted,)
    for number in numbers:
        if isinstance(number, (int, float)) and not (flag.least <= number <= flag.most and math.isfinite(number)):
            raise UsageError(f"{name} is {number}; it must be {_bounds(flag)}")
    return converted


def _bounds(flag: Flag) -> str:
    if math.isinf(flag.most):
        return f"at least {flag.least:g}" if math.isfinite(flag.least) else "a finite number"
    return f"from {flag.least:g} to {flag.most:g}"


def _kind_name(kind: type) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(kind, "a list of two numbers" if kind == tuple[float, float] else "a list of texts")


def _converted(value: Any, kind: type) -> Value | None:
    """The value as ``kind``, None where it is something else. No text is read as a number, no bool as one."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float:
        return float(value) if number else None
    if kind in (bool, int, str):
        return value if type(value) is kind else None
    if not isinstance(value, (list, tuple)):
        return None
    if kind == tuple[float, float]:
        items = [_converted(item, float) for item in value]
        return (
            tuple(item for item in items if isinstance(item, float)) if len(items) == 2 and None not in items else None
        )
    return tuple(value) if all(isinstance(item, str) for item in value) else None
