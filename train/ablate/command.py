"""Trains every row of a grid with several seeds and tabulates what each changes. Continues where it was stopped."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.checks import parse_json
from shared.console import say
from shared.errors import DataError, UsageError
from shared.files import write_text
from shared.manifests import Dataset, read_dataset, read_manifests
from train.ablate.grid import GridRow, default_grid, read_grid
from train.ablate.table import (
    RESULTS_FILE,
    SUMMARY_CSV,
    SUMMARY_MARKDOWN,
    SUMMARY_PLOT,
    Ablation,
    CellResult,
    print_ablation,
    write_ablation,
)
from train.data.balancing import find_plan
from train.data.views import Views
from train.evaluate.command import evaluate_split
from train.run.command import CONFIG_FILE, check_run
from train.run.command import run as run_training
from train.run.config import RunConfig, continued_with, differences, read_config, requested_splits, resolve
from train.run.config_values import Value
from train.run.progress import read_timing
from train.trained.model import load_model

if TYPE_CHECKING:
    import pandas as pd

RESULT_FILE = "result.json"
_EVALUATION_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class AblateOptions:
    """The options of the command."""

    grid: Path | None
    """None for the built-in grid."""
    config: Path | None
    """None for the defaults of `run`."""
    seeds: int
    name: str
    runs: Path
    shards: Path
    manifests: Path


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the study."""

    row: GridRow
    seed: int
    folder: Path


def ablate(options: AblateOptions) -> int:
    """Train and measure what is not done yet, write the tables after each run; 1 where a run failed."""
    if options.seeds < 1:
        raise UsageError(f"--seeds is {options.seeds}; it must be at least 1")
    if Path(options.name).name != options.name or options.name in (".", ".."):
        raise UsageError(f"--name is {options.name!r}; it must be one folder name, without slashes")
    base = {} if options.config is None else _without_places(read_config(options.config))
    rows = default_grid(base=base) if options.grid is None else read_grid(options.grid, base=base)
    dataset, frame = read_dataset(options.manifests), read_manifests(options.manifests)
    skipped = {row.name: reason for row in rows if (reason := _why_not(row, dataset, options.manifests))}
    for name, reason in skipped.items():
        say(f"not run: {name} ({reason})")
    folder = options.runs / options.name
    cells = [
        Cell(row=row, seed=seed, folder=folder / row.folder / f"seed{seed}")
        for seed in range(options.seeds)  # seed by seed: a study that is stopped early has every row
        for row in rows
        if row.name not in skipped
    ]
    if not cells:
        raise DataError("no row of the grid can be run on this data set; the reasons stand above")
    _check_cells(cells, options)
    say(f"{len(cells)} runs: {len(rows) - len(skipped)} rows, {options.seeds} seeds, in {folder}")
    ablation = Ablation(
        title=f"{options.name}: split {rows[0].keys['split']}, {options.seeds} seeds",
        compared_to={row.name: row.compared_to for row in rows},
        cells=(),
        skipped=skipped,
        remarks=_remarks(rows, dataset),
    )
    ablation, failures = _run_cells(cells, ablation, folder, dataset, frame, options)
    print_ablation(ablation)
    for line in (*ablation.remarks, *failures):
        say(line)
    say(f"wrote {folder}: {SUMMARY_MARKDOWN}, {SUMMARY_CSV}, {SUMMARY_PLOT}, {RESULTS_FILE}")
    return 1 if failures else 0


def _command_line(cell: Cell, options: AblateOptions) -> dict[str, Value]:
    return {
        **cell.row.keys,
        "seed": cell.seed,
        "name": cell.folder.name,
        "runs": str(cell.folder.parent),
        "shards": str(options.shards),
        "manifests": str(options.manifests),
    }


def _check_cells(cells: Sequence[Cell], options: AblateOptions) -> None:
    """Raise what is wrong with any run, before the first one costs time."""
    checked = set()
    for cell in cells:
        values = _command_line(cell, options)
        if (cell.folder / CONFIG_FILE).is_file():
            saved = resolve(command_line={}, file=read_config(cell.folder / CONFIG_FILE))
            if changed := differences(saved, continued_with(saved, values)):
                raise UsageError(
                    f"{cell.folder} is begun, but this differs: {'; '.join(changed)}; choose another --name"
                )
        elif cell.row.name not in checked:  # what can be wrong does not depend on the seed
            _check_row(cell.row.name, resolve(command_line=values, file={}))
            checked.add(cell.row.name)


def _check_row(name: str, config: RunConfig) -> None:
    try:
        check_run(config)
    except (UsageError, DataError) as error:
        raise type(error)(f"row {name!r}: {error}") from error


def _run_cells(
    cells: Sequence[Cell],
    ablation: Ablation,
    folder: Path,
    dataset: Dataset,
    frame: pd.DataFrame,
    options: AblateOptions,
) -> tuple[Ablation, list[str]]:
    """The ablation with its results, and a line for each run that failed; the others go on."""
    failures = []
    for number, cell in enumerate(cells, start=1):
        say(f"[{number}/{len(cells)}] {cell.row.name}, seed {cell.seed}")
        try:
            result = _run_cell(cell, dataset, frame, options)
        except DataError as error:
            failures.append(f"failed: {cell.row.name}, seed {cell.seed}: {error}")
            say(failures[-1])
            continue
        ablation = dataclasses.replace(ablation, cells=(*ablation.cells, result))
        write_ablation(folder, ablation)
    if not ablation.cells:
        raise DataError(f"every run failed; the first: {failures[0]}")
    return ablation, failures


def _run_cell(cell: Cell, dataset: Dataset, frame: pd.DataFrame, options: AblateOptions) -> CellResult:
    """Train and measure one run, or what is left to do of it."""
    saved = _read_result(cell.folder / RESULT_FILE)
    if saved is not None and saved.dataset_id == dataset.dataset_id:
        # Not trained on: a run that its time limit stopped would get more of it at every call.
        return dataclasses.replace(saved, row=cell.row.name)  # the name may have been spelt a little differently
    run_training(command_line=_command_line(cell, options), config_file=None, resume=True)
    loaded = load_model(cell.folder)
    if loaded.facts.dataset_id != dataset.dataset_id:
        raise DataError(f"{cell.folder} was trained on another data set; choose another --name")
    measured = evaluate_split(loaded, frame, shards=options.shards, views=Views(), batch_size=_EVALUATION_BATCH).metrics
    result = CellResult(
        row=cell.row.name,
        seed=cell.seed,
        split=loaded.facts.split,
        num_clips=measured.num_clips,
        top1=measured.top1,
        mean_class_accuracy=measured.mean_class_accuracy,
        milliseconds_per_step=_milliseconds_per_step(cell.folder),
        num_parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        dataset_id=loaded.facts.dataset_id,
    )
    write_text(cell.folder / RESULT_FILE, json.dumps(dataclasses.asdict(result), indent=2) + "\n")
    return result


def _milliseconds_per_step(folder: Path) -> float:
    timings = read_timing(folder)
    timings = timings[1:] or timings  # the first epoch warms caches and allocators up
    steps = sum(timing.steps for timing in timings)
    return 1000 * sum(timing.seconds for timing in timings) / steps if steps else float("nan")


def _read_result(path: Path) -> CellResult | None:
    try:
        return CellResult(**parse_json(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and run the same command again") from error


def _without_places(config: dict[str, Value]) -> dict[str, Value]:
    """A configuration of `run` without what the ablation settles: where things lie, the name and the seed."""
    return {key: value for key, value in config.items() if key not in ("name", "runs", "shards", "manifests", "seed")}


def _why_not(row: GridRow, dataset: Dataset, manifests: Path) -> str:
    """Why a row cannot be measured on this data set, empty where it can."""
    if row.keys["sampling"] == "tsn" and dataset.frames_per_segment == 1:
        return "the shards hold one frame a segment; extract with --frames-per-segment 3"
    if row.keys["plan"] != "none":
        split = requested_splits(str(row.keys["split"]))[0]  # the grid allows one alone
        choice = str(row.keys["plan"])
        path, note = find_plan(choice, manifests=manifests, split=split, dataset_id=dataset.dataset_id)
        if path is None:
            return note
    return ""


def _remarks(rows: Sequence[GridRow], dataset: Dataset) -> tuple[str, ...]:
    remarks = []
    if any(row.keys["split"] == "all" for row in rows):
        remarks.append("split all: a sanity check, measured on the training clips")
    if dataset.synthetic:
        remarks.append("measured on the embedded synthetic data set: the numbers say nothing about HMDB51")
    return tuple(remarks)
