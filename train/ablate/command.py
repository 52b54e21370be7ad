"""Trains every row of a grid with several seeds and tabulates what each changes. Continues where it was stopped."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.checks import parse_json
from shared.errors import DataError, UsageError
from shared.files import write_text
from shared.manifests.files import Dataset, read_dataset, read_manifests
from shared.shards.places import RemoteShards, ShardsPlace
from shared.terminal.console import counted, say
from train.ablate.grid import SETTLED_KEYS, GridRow, default_grid, read_grid
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
from train.data.samples import table_of_split
from train.data.views import Views
from train.evaluate.command import EVALUATION_COLUMNS, evaluate_split, remarks_on
from train.run.command import check_run
from train.run.command import run as run_training
from train.run.config.fields import RunConfig, requested_splits
from train.run.config.files import read_config
from train.run.config.resolve import continued_with, differences, resolve
from train.run.config.values import Value
from train.run.folder import CONFIG_FILE
from train.run.progress import read_timing
from train.trained.clips import check_split
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
    shards: ShardsPlace
    manifests: Path


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the study."""

    row: GridRow
    seed: int
    folder: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """What all runs of the study have in common."""

    options: AblateOptions
    folder: Path
    rows: list[GridRow]
    dataset: Dataset
    frame: pd.DataFrame
    """All manifest rows, with EVALUATION_COLUMNS."""

    def command_line(self, cell: Cell) -> dict[str, Value]:
        """The keys of `run` for a cell."""
        shards = self.options.shards
        places: dict[str, Value] = {"shards": str(shards), "manifests": str(self.options.manifests)}
        if isinstance(shards, RemoteShards):
            places |= {"shard_cache": str(shards.cache), "shard_cache_gb": shards.cache_gb}
        name, runs = cell.folder.name, str(cell.folder.parent)
        return {**cell.row.keys, **places, "seed": cell.seed, "name": name, "runs": runs}


def ablate(options: AblateOptions) -> int:
    """Train and measure what is not done yet, write the tables after each run; 1 where a run failed."""
    study = _open_study(options)
    skipped = {row.name: reason for row in study.rows if (reason := _why_not(row, study))}
    for name, reason in skipped.items():
        say(f"not run: {name} ({reason})")
    cells = [
        Cell(row=row, seed=seed, folder=study.folder / row.folder / f"seed{seed}")
        for seed in range(options.seeds)  # seed by seed: a study that is stopped early has every row
        for row in study.rows
        if row.name not in skipped
    ]
    if not cells:
        raise DataError("no row of the grid can be run on this data set; the reasons stand above")
    _check_cells(cells, study)
    say(
        f"{counted(len(cells), 'run')}: {counted(len(study.rows) - len(skipped), 'row')}, "
        f"{counted(options.seeds, 'seed')}, in {study.folder}"
    )
    ablation = Ablation(
        title=f"{options.name}: split {study.rows[0].keys['split']}, {counted(options.seeds, 'seed')}",
        compared_to={row.name: row.compared_to for row in study.rows},
        cells=(),
        skipped=skipped,
        remarks=_remarks(study),
    )
    ablation, failures = _run_cells(cells, ablation, study)
    print_ablation(ablation)
    for line in (*ablation.remarks, *failures):
        say(line)
    say(f"wrote {study.folder}: {SUMMARY_MARKDOWN}, {SUMMARY_CSV}, {SUMMARY_PLOT}, {RESULTS_FILE}")
    return 1 if failures else 0


def _open_study(options: AblateOptions) -> Study:
    if Path(options.name).name != options.name or options.name in (".", ".."):
        raise UsageError(f"--name is {options.name!r}; it must be one folder name, without slashes")
    base = {} if options.config is None else read_config(options.config)
    base = {key: value for key, value in base.items() if key not in SETTLED_KEYS}
    return Study(
        options=options,
        folder=options.runs / options.name,
        rows=default_grid(base=base) if options.grid is None else read_grid(options.grid, base=base),
        dataset=read_dataset(options.manifests),
        frame=read_manifests(options.manifests, columns=EVALUATION_COLUMNS),
    )


def _check_cells(cells: Sequence[Cell], study: Study) -> None:
    """Raise what is wrong with any run, before the first one costs time."""
    checked = set()
    for cell in cells:
        values = study.command_line(cell)
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


def _run_cells(cells: Sequence[Cell], ablation: Ablation, study: Study) -> tuple[Ablation, list[str]]:
    """The ablation with its results, and a line for each run that failed; the others go on."""
    failures = []
    for number, cell in enumerate(cells, start=1):
        say(f"[{number}/{len(cells)}] {cell.row.name}, seed {cell.seed}")
        try:
            result = _run_cell(cell, study)
        except DataError as error:
            failures.append(f"failed: {cell.row.name}, seed {cell.seed}: {error}")
            say(failures[-1])
            continue
        ablation = dataclasses.replace(ablation, cells=(*ablation.cells, result))
        write_ablation(study.folder, ablation)
    if not ablation.cells:
        raise DataError(f"every run failed; the first: {failures[0]}")
    return ablation, failures


def _run_cell(cell: Cell, study: Study) -> CellResult:
    """Train and measure one run, or what is left to do of it."""
    dataset_id = study.dataset.dataset_id
    saved = _read_result(cell.folder / RESULT_FILE)
    if saved is not None and saved.dataset_id == dataset_id and _has_same_split(saved, study):
        # Not trained on: a run that its time limit stopped would get more of it at every call.
        return dataclasses.replace(saved, row=cell.row.name)  # the name may have been spelt a little differently
    run_training(command_line=study.command_line(cell), config_file=None, resume=True)
    loaded = load_model(cell.folder)
    if loaded.facts.dataset_id != dataset_id:
        raise DataError(f"{cell.folder} was trained on another data set; choose another --name")
    check_split(loaded, study.frame)
    shards = study.options.shards
    measured = evaluate_split(loaded, study.frame, shards=shards, views=Views(), batch_size=_EVALUATION_BATCH).metrics
    result = CellResult(
        row=cell.row.name,
        seed=cell.seed,
        split=loaded.facts.split,
        num_clips=measured.num_clips,
        top1=measured.top1,
        mean_class_accuracy=measured.mean_class_accuracy,
        milliseconds_per_step=_milliseconds_per_step(cell.folder),
        num_parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        dataset_id=dataset_id,
        split_sha256=loaded.facts.split_sha256,
    )
    write_text(cell.folder / RESULT_FILE, json.dumps(dataclasses.asdict(result), indent=2) + "\n")
    return result


def _has_same_split(saved: CellResult, study: Study) -> bool:
    now = table_of_split(study.frame, split=saved.split)
    return now is None or saved.split_sha256 in ("", now.sha256)


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


def _why_not(row: GridRow, study: Study) -> str:
    """Why a row cannot be measured on this data set, empty where it can."""
    dataset = study.dataset
    if row.keys["sampling"] == "tsn" and dataset.frames_per_segment == 1:
        return "the shards hold one frame a segment; extract with --frames-per-segment 3"
    if row.keys["plan"] == "none":
        return ""
    split = requested_splits(str(row.keys["split"]))[0]  # the grid allows one alone
    manifests, plan = study.options.manifests, str(row.keys["plan"])
    path, note = find_plan(plan, manifests=manifests, split=split, dataset_id=dataset.dataset_id)
    return note if path is None else ""


def _remarks(study: Study) -> tuple[str, ...]:
    split = "all" if any(row.keys["split"] == "all" for row in study.rows) else ""
    return tuple(remarks_on(split=split, synthetic=study.dataset.synthetic))
