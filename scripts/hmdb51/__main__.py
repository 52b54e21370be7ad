"""``python -m scripts.hmdb51 SOURCE=hmdb51_org.rar ...``: from the archive to the report. `make hmdb51` calls it."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from preprocess.fetch.download import archive_name
from scripts.hmdb51 import estimate
from scripts.hmdb51.journal import Journal, locked, read_journal, run_stages, write_journal
from scripts.hmdb51.options import (
    SIZE,
    Options,
    check_training,
    choose,
    parse,
    with_source,
    with_usable_splits,
)
from scripts.hmdb51.report import write_report
from scripts.hmdb51.roads import Road, memory_options
from scripts.hmdb51.stages import data_stages, fetch_stages, model_stages, settles_training, weights_stage
from shared.errors import UsageError
from shared.files import sha256_of
from shared.manifests.files import DATASET_FILE, read_dataset, read_manifests
from shared.terminal.console import counted, exit_code_of, print_table, say


def main(words: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Say what it takes, run what is not finished, write the report. Returns the exit code of what failed, or 0."""
    options = parse(words, environment)
    gpu = estimate.gpu_gigabytes()
    options, road, reason = choose(options, gpu=gpu)
    folder = Path(options.runs) / options.name
    begun = read_journal(folder)
    options, settled = with_source(options, begun), settles_training(options, road)
    _check_size(options)
    is_trained = any(folder.glob("**/checkpoints/*.pt"))  # else it begins anew, with whatever it is given
    check_training(options, begun if is_trained else None, settled)
    say(f"make hmdb51, road {road.name}: {road.words_with(options.init)} ({road.recipe_file}), {reason}")
    given = {name.upper(): value for name, value in vars(options).items() if value != getattr(Options, name)}
    say(f"variables: {', '.join(f'{name}={value}' for name, value in given.items())}")
    _say_what_it_takes(options, road, begun, gpu=gpu)
    with locked(folder) as lock:
        journal = read_journal(folder) or Journal(road=road.name, source=options.source)
        before = journal.trained_with if is_trained else {}
        journal = dataclasses.replace(journal, source=options.source, trained_with=before)
        write_journal(folder, journal)
        return _go(options, road, journal, settled, manner=memory_options(road, gpu), lock=lock)


def _go(
    options: Options, road: Road, journal: Journal, settled: dict[str, str], *, manner: tuple[str, ...], lock: int
) -> int:
    """Run what is not finished and write the report. settled: of the training; manner: its options."""
    run = partial(run_stages, folder=Path(options.runs) / options.name, lock=lock)
    fetch, data = fetch_stages(options), data_stages(options)
    models = model_stages(options, road, manner=manner)
    journal = run([weights_stage(options, road)], journal)
    was_fetched = all(journal.of(stage) for stage in fetch)
    journal = journal if was_fetched else dataclasses.replace(journal, archive_sha256="")
    journal = run(fetch, journal, later=(*data, *models))
    if not was_fetched:
        journal = dataclasses.replace(journal, archive_sha256=_archive_sha256(options))
    journal = run(data, journal, later=models)
    options, left_out = with_usable_splits(options, read_manifests(Path(options.manifests)))
    for sentence in left_out:
        say(sentence)
    journal = dataclasses.replace(journal, trained_with=journal.trained_with or settled)
    journal = run(model_stages(options, road, manner=manner), journal)
    report, files = write_report(options, road, journal, left_out=left_out)
    for remark in report.remarks:
        say(remark)
    say(f"{report.headline}; wrote {', '.join(map(str, files))}")
    return 0


def _archive_sha256(options: Options) -> str:
    """SHA-256 of the archive that has just been fetched, in hexadecimal; empty where the source is none."""
    is_address = options.source.startswith(("http://", "https://"))
    place = Path(options.videos).absolute().parent / archive_name(options.source) if is_address else options.source
    file = Path(place).expanduser()
    return sha256_of(file) if file.is_file() else ""


def _check_size(options: Options) -> None:
    """Raise UsageError where the shards hold pictures of another size."""
    manifests, size = Path(options.manifests), options.size or SIZE
    if (manifests / DATASET_FILE).is_file() and (stored := read_dataset(manifests).size) != str(size):
        raise UsageError(
            f"the shards in {options.shards} hold pictures of {stored}, not {size}; give SIZE={stored}, or other "
            "folders (SHARDS= and MANIFESTS=)"
        )


def _say_what_it_takes(options: Options, road: Road, begun: Journal | None, *, gpu: float) -> None:
    """Say hours, disk and memory. Raises DataError where a disk is too small."""
    source = estimate.look_at_source(options)
    found = estimate.needs(options, road, source, has_gpu=gpu > 0)
    print_table(
        f"What it takes in all, estimated for {counted(source.num_clips, 'clip')} and splits {options.splits}",
        ("stage", "time", "disk", "reckoned from"),
        estimate.table_rows(found),
    )
    say(f"memory: {road.memory}; here: {f'a GPU of {gpu:.0f} GB' if gpu else 'no GPU that torch can use'}")
    if options.init:
        say("time and memory are those of the recipe's own weights, not of INIT")
    if road.name != "probe" and not gpu:
        say("training without a GPU takes long; ROAD=probe is the road for this machine")
    finished = {each.stage for each in begun.finished} if begun else set()
    estimate.check_disks([need for need in found if need.stage not in finished], options)


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:], os.environ)))
