"""Splits of one's own: a CSV file, UCF101's lists or HMDB51's, read into one table that is kept beside the shards."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, get_args

from shared.errors import DataError, UsageError
from shared.files import write_text
from shared.manifests.files import SPLIT_COLUMNS, SPLITS_FILE
from shared.splits.official_names import official_clip_id
from shared.splits.parts import ClipSplits, Part
from shared.video.listing import is_video_name

PARTS: tuple[Part, ...] = get_args(Part)
Key = Literal["clip_id", "path"]
_KEYS: tuple[Key, ...] = get_args(Key)

_MOST_COLUMNS = 3  # of names that say nothing: the first is split1, and so on
_MOST_SHOWN = 100  # characters of a text in a message
_UCF101_LIST = re.compile(r"(train|val|test)list0*(\d+)\.txt")
_HMDB51_LIST = re.compile(r"(.+)_test_split0*(\d+)\.txt")
_NUMBERS = ("1", "2", "3")  # of splits
_HMDB51_PARTS: Mapping[str, Part] = {"0": "unused", "1": "train", "2": "test"}
_COLUMNS = "clip_id or path, and one to three columns of train, val, test and unused"
_FORMS = (
    f"a CSV file ({_COLUMNS}), or a folder of lists as UCF101 (trainlist01.txt) or HMDB51 (<class>_test_split1.txt) "
    "has them"
)


class NamedClip(Protocol):
    """A video, or the manifest row of its clip."""

    @property
    def clip_id(self) -> str: ...
    @property
    def path(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class SplitTable:
    """The part of each clip in one split or several."""

    key: Key
    """What names the clips: ``clip_id`` (``<class>/<file stem>``), or ``path`` (relative to the folder of videos)."""
    columns: tuple[str, ...]
    """Those of SPLIT_COLUMNS that the table fills, in their order."""
    parts: Mapping[str, tuple[Part, ...]]
    """Name of a clip -> its part in each of the columns."""

    def of(self, clip: NamedClip, *, full: str) -> ClipSplits:
        """The splits of a clip: ``unused`` where the table does not list it, and in split1 to 3 that it does not fill.

        full: the part in ``split_full`` where the table has no such column.
        """
        listed = self.parts.get(self.name_of(clip), ("unused",) * len(self.columns))
        given = dict(zip(self.columns, listed, strict=True))
        return ClipSplits(
            split1=given.get("split1", "unused"),
            split2=given.get("split2", "unused"),
            split3=given.get("split3", "unused"),
            split_full=given.get("split_full", full),
        )

    def name_of(self, clip: NamedClip) -> str:
        """What the table may list a clip under: its key, or its official clip_id if only that is there, as of HMDB51's
        files whose names an unpacker has altered.
        """
        name: str = getattr(clip, self.key)
        if name in self.parts or self.key == "path":
            return name
        official = official_clip_id(name.partition("/")[2])
        return official if official is not None and official in self.parts else name

    @property
    def sha256(self) -> str:
        """Of the table as ``splits.csv`` holds it, in hexadecimal: the same whatever form it was read from."""
        return hashlib.sha256(_as_csv(self).encode()).hexdigest()


def mismatches(table: SplitTable, clips: Iterable[NamedClip], *, place: str) -> list[str]:
    """Sentences on clips that the table does not list, and on names in it that are no clip, each with an example.

    place: where the table comes from. Raises DataError where it lists none of the clips.
    """
    known = {table.name_of(clip) for clip in clips}
    unlisted, strange = sorted(known - table.parts.keys()), sorted(table.parts.keys() - known)
    if len(unlisted) == len(known):
        raise DataError(
            f"none of the {len(table.parts)} clips in {place} is here: it lists {_shown(strange[0])}, and the "
            f"{table.key} of a clip here is {_shown(unlisted[0])}; write them alike"
        )
    sentences = []
    if unlisted:
        sentences.append(
            f"unused, as {place} does not list them: {len(unlisted)} of {len(known)} clips, such as "
            f"{_shown(unlisted[0])}"
        )
    if strange:
        sentences.append(
            f"listed in {place} and not here: {len(strange)} of {len(table.parts)} clips, such as {_shown(strange[0])}"
        )
    return sentences


def read_split_table(path: Path) -> SplitTable:
    """Read splits in one of their three forms, or a ``splits.csv`` that was kept.

    Raises UsageError where there is nothing at ``path``, DataError where it has none of the forms, is damaged, holds a
    part that is none, or names a clip twice.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.is_file():
            return _read_csv(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text ({error.reason}); save it as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    raise UsageError(f"no splits at {path}; name with --splits {_FORMS}")


def write_split_table(folder: Path, table: SplitTable) -> None:
    """Keep a table as ``splits.csv`` in a folder: whole, rows sorted by name. What is kept already stays untouched."""
    file, text = folder / SPLITS_FILE, _as_csv(table)
    if not file.is_file() or file.read_bytes() != text.encode():
        write_text(file, text)


def read_kept_table(folder: Path) -> SplitTable | None:
    """The table that is kept beside the shards; None where there is none. Raises DataError where it is damaged."""
    file = folder / SPLITS_FILE
    return read_split_table(file) if file.is_file() else None


def _as_csv(table: SplitTable) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((table.key, *table.columns))
    writer.writerows((name, *table.parts[name]) for name in sorted(table.parts))
    return stream.getvalue()


def _read_csv(file: Path) -> SplitTable:
    try:
        rows = [row for row in csv.reader(io.StringIO(_text_of(file), newline=""), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as CSV ({error}); save it as CSV with commas") from error
    header = rows[0] if rows else []
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise DataError(f"{file} is separated by {name}; save it with commas")
    key, filled = _columns_of(file, header)
    columns = tuple(column for column in SPLIT_COLUMNS if column in filled)
    parts: dict[str, tuple[Part, ...]] = {}
    for row in rows[1:]:
        if len(row) != len(header):
            raise DataError(
                f"{file}: {_shown(','.join(row))} has {len(row)} cells, the header {len(header)}; mend that line"
            )
        cells = dict(zip(header, row, strict=True))
        name = cells[key]
        if name in parts:
            raise DataError(f"{file} names {_shown(name)} twice; delete one of the lines")
        parts[name] = tuple(_part(file, name, filled[column], cells[filled[column]]) for column in columns)
    if not parts:
        raise DataError(f"{file} lists no clips; write one row for each")
    return SplitTable(key=key, columns=columns, parts=parts)


def _columns_of(file: Path, header: Sequence[str]) -> tuple[Key, dict[str, str]]:
    """What names the clips; and for each split that the file fills, the column that says it."""
    keys = [key for key in _KEYS if key in header]
    names = [name for name in header if name not in keys]
    if len(keys) != 1 or not names or len(set(header)) < len(header):
        raise DataError(f"{file} has the columns {_shown(', '.join(header))}; they must be {_COLUMNS}")
    if any(name in SPLIT_COLUMNS for name in names):
        if strange := [name for name in names if name not in SPLIT_COLUMNS]:
            raise DataError(
                f"{file} has a column {_shown(strange[0])} beside those of splits; leave in {keys[0]} and "
                f"{', '.join(SPLIT_COLUMNS)} alone, or as many of them as there are"
            )
        return keys[0], {name: name for name in names}
    if len(names) > _MOST_COLUMNS:
        raise DataError(
            f"{file} has {len(names)} columns beside {keys[0]} ({_shown(', '.join(names))}); leave in those of splits, "
            f"at most {_MOST_COLUMNS}"
        )
    return keys[0], dict(zip(SPLIT_COLUMNS, names, strict=False))


def _part(file: Path, name: str, column: str, cell: str) -> Part:
    for part in PARTS:
        if cell == part:
            return part
    raise DataError(f"{file}: {_shown(column)} of {_shown(name)} is {_shown(cell)}; write one of {', '.join(PARTS)}")


def _read_folder(folder: Path) -> SplitTable:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    ucf101, hmdb51 = _lists_among(files, _UCF101_LIST), _lists_among(files, _HMDB51_LIST)
    if ucf101 and hmdb51:
        raise DataError(
            f"{folder} holds the lists of two data sets, {ucf101[0][0].name} and {hmdb51[0][0].name}; move one away"
        )
    if ucf101:
        return _table_of_lists(folder, [entry for file, match in ucf101 for entry in _ucf101_entries(file, match)])
    if hmdb51:
        return _table_of_lists(folder, [entry for file, match in hmdb51 for entry in _hmdb51_entries(file, match)])
    within = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and _holds_lists(entry)]
    hint = f"{within[0]} does: name that one" if within else f"name {_FORMS}"
    raise DataError(f"{folder} holds no lists of splits; {hint}")


def _lists_among(files: Sequence[Path], pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    """The lists whose names match. Raises DataError for one of a fourth split, and for two of the same part."""
    found: dict[tuple[str, ...], tuple[Path, re.Match[str]]] = {}
    for file in files:
        match = pattern.fullmatch(file.name)
        if match is None:
            continue
        if match[2] not in _NUMBERS:
            raise DataError(f"{file} is of split {match[2]}; there are splits 1 to 3: move it away, or rename it")
        if match.groups() in found:
            raise DataError(f"{found[match.groups()][0]} and {file.name} are the same list; move one away")
        found[match.groups()] = (file, match)
    return list(found.values())


def _holds_lists(folder: Path) -> bool:
    return any(_UCF101_LIST.fullmatch(file.name) or _HMDB51_LIST.fullmatch(file.name) for file in folder.iterdir())


Entry = tuple[str, str, Part]  # clip_id, split column, part


def _ucf101_entries(file: Path, match: re.Match[str]) -> list[Entry]:
    """Lines such as ``Archery/v_Archery_g08_c01.avi 3``; the number, which lists of test clips lack, is of no use."""
    [part] = [part for part in PARTS if part == match[1]]
    names = [re.sub(r"\s+\d+$", "", line) for line in _lines_of(file)]
    for name in names:
        if name.count("/") != 1:
            raise DataError(f"{file}: {_shown(name)} is not <class>/<file>; write one video on each line")
    return [(_clip_id(name), f"split{match[2]}", part) for name in names]


def _hmdb51_entries(file: Path, match: re.Match[str]) -> list[Entry]:
    """Lines such as ``April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1``: 1 trains, 2 tests, 0 is unused."""
    entries: list[Entry] = []
    for line in _lines_of(file):
        name, _, number = line.rpartition(" ")
        if number not in _HMDB51_PARTS or not name:
            raise DataError(f"{file}: {_shown(line)} does not end in 0 (unused), 1 (train) or 2 (test); mend that line")
        entries.append((_clip_id(f"{match[1]}/{name.strip()}"), f"split{match[2]}", _HMDB51_PARTS[number]))
    return entries


def _table_of_lists(folder: Path, entries: Sequence[Entry]) -> SplitTable:
    """The table of some lists, where a clip that a split's lists do not name is unused in it."""
    found: dict[str, dict[str, Part]] = {column: {} for column in SPLIT_COLUMNS}
    for clip_id, column, part in entries:
        if clip_id in found[column]:
            raise DataError(f"the lists of {column} in {folder} name {_shown(clip_id)} twice; delete one of the lines")
        found[column][clip_id] = part
    columns = tuple(column for column in SPLIT_COLUMNS if found[column])
    for column in columns:
        for part in ("train", "test"):
            if part not in found[column].values():
                raise DataError(f"the lists of {column} in {folder} name no clips of part {part}; is a file missing?")
    clip_ids = {clip_id for clip_id, _, _ in entries}
    parts = {name: tuple(found[column].get(name, "unused") for column in columns) for name in clip_ids}
    return SplitTable(key="clip_id", columns=columns, parts=parts)


def _clip_id(path: str) -> str:
    """``<class>/<file stem>`` of ``<class>/<file>``; a frame folder such as ``clip1.5`` has no suffix to lose."""
    class_name, _, name = path.rpartition("/")
    return f"{class_name}/{PurePosixPath(name).stem if is_video_name(name) else name}"


def _shown(text: str) -> str:
    """A text from a file in a message: between quotes, and only its beginning where it is long."""
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")


def _lines_of(file: Path) -> list[str]:
    return [line.strip() for line in _text_of(file).splitlines() if line.strip()]


def _text_of(file: Path) -> str:
    """The text of a file in UTF-8, with or without the mark that Excel puts first."""
    return file.read_bytes().decode("utf-8-sig")
