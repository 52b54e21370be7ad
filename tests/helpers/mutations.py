"""Seeded damage for fuzzing: to bytes, JSON, CSV, TOML and HDF5. Everything is a function of the generator given."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Case = Callable[[random.Random], None]
HOSTILE_TEXTS = (
    "", " ", "\x00", "\n", "../../outside/secret", "/etc/passwd", "..", ".", "a/../../b", "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>", "\ud800", "\u202e", "\ufeff", "'; DROP", "nan", "inf", "-1", "1e999", "0x10", "1_0",
    "٣", "1.0", "1,5", "True", "None", "x" * 5000, "%s%n", "C:\\x", "shard-00000.h5", "~", "$(touch ran)", "9" * 400,
    "walk", "\r\n", '"', "run/../walk",
)  # fmt: skip
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    [], {}, [[]], [0] * 100, {"a": {"b": []}}, [None], *HOSTILE_TEXTS,
)  # fmt: skip


def mutate_bytes(data: bytes, other: bytes, *, draw: random.Random, header: int = 0) -> bytes:
    """Flip bits, cut, splice with another file, repeat or delete a piece: one of them, or two.

    header: half of the places lie in the first so many bytes, where formats keep what matters; 0 for anywhere.
    """
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2))):
        if not changed:
            break
        kind = draw.randrange(6)
        near = min(header, len(changed)) if header and draw.random() < 0.5 else len(changed)
        start = draw.randrange(near)
        length = draw.choice((1, 4, 16, 400, max(1, len(changed) // 3)))
        if kind == 0:
            for _ in range(draw.choice((1, 10, 1000))):
                changed[draw.randrange(near)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[max(1, start) :]
        elif kind == 2 and other:
            place = draw.randrange(len(other))
            changed[start : start + length] = other[place : place + length]
        elif kind == 3:
            changed[start:start] = changed[start : start + length]
        elif kind == 4:
            del changed[start : start + min(length, len(changed) - 1)]
        else:
            value = draw.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * draw.choice((1, 2, 4, 8))
            changed[start : start + len(value)] = value
    return bytes(changed)


def mutate_json(text: str, *, draw: random.Random) -> bytes:
    """Change one or two values, keys or types somewhere in a JSON document, or its text."""
    kind = draw.randrange(8)
    if kind == 0:
        return mutate_bytes(text.encode(), b'{"a": [1e999, "\\ud800"]}', draw=draw)
    if kind == 1:
        depth = draw.choice((10, 2000, 200_000))
        return draw.choice((b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth, b"1" * depth, b"null"))
    content = json.loads(text)
    for _ in range(draw.choice((1, 1, 2))):
        content = _changed(content, draw)
    return json.dumps(content).encode()


def _changed(content: Any, draw: random.Random) -> Any:
    """The content with one place in it changed."""
    if isinstance(content, dict) and content and draw.random() < 0.95:
        key = draw.choice(sorted(content))
        kind = draw.randrange(10)
        if kind == 0:
            del content[key]
        elif kind == 1:
            content[str(draw.choice(HOSTILE_TEXTS))] = content[key]
        else:
            content[key] = _changed(content[key], draw)
        return content
    if isinstance(content, list) and content and draw.random() < 0.9:
        place = draw.randrange(len(content))
        kind = draw.randrange(6)
        if kind == 0:
            del content[place]
        elif kind == 1:
            content.append(content[place])
        else:
            content[place] = _changed(content[place], draw)
        return content
    return draw.choice(HOSTILE_VALUES)


def mutate_csv(text: str, *, draw: random.Random) -> bytes:
    """Change cells, columns, rows, line ends, separators or bytes of a CSV file."""
    kind = draw.randrange(9)
    if kind == 0:
        return mutate_bytes(text.encode(), b'"\n,;\x00\xff', draw=draw)
    if kind == 1:
        return text.encode(draw.choice(("utf-16", "utf-8-sig", "utf-32")))
    lines = list(csv.reader(io.StringIO(text)))
    for _ in range(draw.choice((1, 1, 3))):
        line = draw.choice(lines)
        place = draw.randrange(len(line))
        if kind == 2:
            line.insert(place, "1") if draw.random() < 0.5 else line.pop(place)
            if not line:
                line.append("")
        elif kind == 3:
            lines.insert(draw.randrange(len(lines)), list(line))
        elif kind == 4 and len(lines) > 1:
            lines.remove(line)
        else:
            line[place] = str(draw.choice((*HOSTILE_TEXTS, *HOSTILE_VALUES)))
    output = io.StringIO()
    writer = csv.writer(
        output,
        delimiter=draw.choice((",", ",", ",", ";", "\t")),
        lineterminator=draw.choice(("\n", "\r\n", "\r")),
        quoting=draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    )
    writer.writerows(lines)
    return output.getvalue().encode("utf-8", "surrogatepass")


def mutate_toml(text: str, *, draw: random.Random) -> bytes:
    """Change keys, values or bytes of a flat TOML file."""
    lines = text.splitlines()
    kind = draw.randrange(6)
    if kind == 0:
        return mutate_bytes(text.encode(), b"[[a]]\nb = 1979-05-27T07:32:00Z\n\xff", draw=draw)
    if kind == 1:
        return f"a = {'[' * draw.choice((10, 5000, 100_000))}".encode()
    place = draw.randrange(len(lines))
    key = lines[place].partition(" =")[0]
    values = (
        "1", "-1", "0", "1e400", "nan", "inf", "-inf", "true", '""', '"../.."', '"\\u0000"', "[]", "[[]]", "[1, 2, 3]",
        "{a = 1}", "1979-05-27", "0xffffffffffffffffffff", '["a=b", "=", "a=nan"]', "9" * 30, "'''\n'''", "0.1", "10",
        '"' + "x" * 1000 + '"', '"1,2,3"', '"walk\\n"', "9" * 5000,
    )  # fmt: skip
    if kind == 2:
        key = draw.choice((f"{key}x", f"{key}.a", f'"{key}"', key.replace("_", "-"), "'\\x00'", "é"))
    if kind == 3:
        lines.append(f"[{key}]")
    lines[place] = f"{key} = {draw.choice(values)}"
    return ("\n".join(lines) + "\n").encode()


def mutate_hdf5(path: Path, *, outside: Path, draw: random.Random) -> None:
    """Change an attribute, a data set, its type, shape or storage, or replace it by a link."""
    edit: Callable[[h5py.File, str, Path, random.Random], None] = draw.choice(
        (
            _edit_attribute,
            _edit_attribute,
            _edit_values,
            _edit_values,
            _edit_type,
            _edit_shape,
            _edit_link,
            _edit_storage,
        )
    )
    with h5py.File(path, "r+") as file:
        edit(file, draw.choice(sorted(file)), outside, draw)


def _edit_attribute(file: h5py.File, name: str, outside: Path, draw: random.Random) -> None:
    key = draw.choice(sorted(file.attrs))
    value = draw.choice(
        (0, -1, 2**40, 1.5, float("inf"), float("nan"), "x", b"\xff", np.zeros(3), np.zeros(0), np.zeros((2, 2)), None)
    )
    if value is None:
        del file.attrs[key]
    else:
        file.attrs[key] = value


def _edit_values(file: h5py.File, name: str, outside: Path, draw: random.Random) -> None:
    data = file[name]
    if h5py.check_string_dtype(data.dtype):
        bad = (b"\xff\xfe", b"", b"{}", b"[" * 5000, b"x" * 100_000, "walk/é".encode(), b"../../a/b", b"a\nb")
        data[draw.randrange(len(data))] = draw.choice(bad)
    else:
        data[draw.randrange(len(data))] = draw.choice((0, 1, 127, 255))


def _edit_type(file: h5py.File, name: str, outside: Path, draw: random.Random) -> None:
    length = len(file[name])
    del file[name]
    kinds = ("f8", "S3", "i8", "c16", "V8", [("a", "i4"), ("b", "f8")], "u1", "?", h5py.string_dtype())
    file.create_dataset(name, shape=(length,), dtype=draw.choice(kinds))


def _edit_shape(file: h5py.File, name: str, outside: Path, draw: random.Random) -> None:
    kind = file[name].dtype
    del file[name]
    if draw.random() < 0.2:
        file.create_dataset(name, data=h5py.Empty(kind))
        return
    shapes = ((), (0,), (1,), (2, 2), (10**9,), (10**15,), (3, 0, 4, 5, 3), (3, 6, 4, 5, 3), (2**31, 2**31))
    shape = draw.choice(shapes)
    chunks = tuple(min(length, 64) for length in shape) if shape and 0 not in shape else None
    file.create_dataset(name, shape=shape, dtype=kind, chunks=chunks, compression="gzip" if chunks else None)


def _edit_link(file: h5py.File, name: str, outside: Path, draw: random.Random) -> None:
    del file[name]
    links = (
        h5py.ExternalLink(str(outside), name),
        h5py.ExternalLink(str(outside), "/"),
        h5py.SoftLink(f"/{name}"),
        h5py.SoftLink("/label"),
        h5py.SoftLink("/nothing"),
    )
    file[name] = draw.choice(links)
    if draw.random() < 0.2:
        del file[name]
        file.create_group(name)


def _edit_storage(file: h5py.File, name: str, outside: Path, draw: random.Random) -> None:
    data = file[name]
    shape, kind = data.shape, data.dtype
    del file[name]
    size = int(np.prod(shape)) * kind.itemsize
    if draw.random() < 0.5 and not h5py.check_string_dtype(kind):
        file.create_dataset(name, shape=shape, dtype=kind, external=[(str(outside), 0, size)])
        return
    layout = h5py.VirtualLayout(shape=shape, dtype=kind)
    layout[...] = h5py.VirtualSource(str(outside), name, shape=shape)
    file.create_virtual_dataset(name, layout)
