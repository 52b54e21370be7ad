"""Reads what the commands of a road left and writes the report: hmdb51.md and hmdb51.html in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from scripts.hmdb51.journal import Journal
from scripts.hmdb51.literature import literature
from scripts.hmdb51.options import Options
from scripts.hmdb51.report import DataFacts, Report, SplitFigures, make_report, markdown
from scripts.hmdb51.roads import Road
from scripts.hmdb51.stages import split_folder
from shared.errors import DataError
from shared.files import write_text
from shared.manifests import read_dataset, read_manifests
from shared.official_names import official_clip_id
from shared.pages import data_address, render_page


def write_report(
    options: Options, road: Road, journal: Journal, *, archive: str, left_out: Sequence[str]
) -> tuple[Report, list[Path]]:
    """Write both forms; returns the report and the files. archive, left_out: sentences on the archive and on splits."""
    report = make_report(
        options,
        road,
        results=[read_figures(options, split) for split in options.split_names],
        data=read_data(options, archive=archive, left_out=left_out),
        journal=journal,
        literature=literature(),
    )
    folder = Path(options.runs) / options.name
    page, text = folder / "hmdb51.html", folder / "hmdb51.md"
    write_text(text, markdown(report))
    content = {"report": report, "pictures": _confusions(options)}
    write_text(page, render_page("scripts.hmdb51", "report", content))
    return report, [page, text]


def read_figures(options: Options, split: str) -> SplitFigures:
    """What `lsvit-train evaluate` wrote of a split. Raises DataError where it is damaged."""
    file = split_folder(options, split) / "evaluation" / "metrics.json"
    try:
        (found,) = (each for each in json.loads(file.read_text(encoding="utf-8"))["splits"] if each["split"] == split)
        shares = {key: float(found[key]) for key in ("top1", "top5", "mean_class_accuracy")}
        return SplitFigures(split=split, num_clips=int(found["num_clips"]), **shares)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} cannot be read ({error}); delete it and call make hmdb51 again") from error


def read_data(options: Options, *, archive: str, left_out: Sequence[str]) -> DataFacts:
    """What the manifests say of the data set."""
    manifests = Path(options.manifests)
    frame = read_manifests(manifests)
    official = {official_clip_id(Path(path).stem) for path in frame["path"]} - {None}
    return DataFacts(
        dataset=read_dataset(manifests),
        num_official=len(official),
        num_official_classes=len({str(clip_id).partition("/")[0] for clip_id in official}),
        archive=archive,
        left_out=left_out,
    )


def _confusions(options: Options) -> dict[str, str]:
    """The confusion matrix of each split as a picture in the page."""
    files = {split: split_folder(options, split) / "evaluation" / "confusion.png" for split in options.split_names}
    return {split: data_address(file.read_bytes(), "png") for split, file in files.items() if file.is_file()}
