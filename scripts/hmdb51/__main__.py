"""``python -m scripts.hmdb51 SOURCE=hmdb51_org.rar ...``: from the archive to the report. `make hmdb51` calls it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.hmdb51 import machine
from scripts.hmdb51.archive import archive_sentence, archive_sha256
from scripts.hmdb51.calls import run_stages
from scripts.hmdb51.choice import choose, with_source, with_usable_splits
from scripts.hmdb51.estimate import Need, missing_bytes, needs, table_rows
from scripts.hmdb51.journal import Journal, locked, read_journal, write_journal
from scripts.hmdb51.options import Options, parse
from scripts.hmdb51.results import write_report
from scripts.hmdb51.roads import ROADS, Road, memory_options
from scripts.hmdb51.stages import data_stages, model_stages
from shared.console import counted, exit_code_of, print_table, say
from shared.errors import DataError
from shared.manifests import read_manifests


def main(words: Sequence[str]) -> int:
    """Say what it takes, run what is not finished, write the report. Returns the exit code of what failed, or 0."""
    gpu = machine.gpu_gigabytes()
    options, road, reason = choose(parse(words), gpu=gpu)
    folder = Path(options.runs) / options.name
    begun = read_journal(folder)
    options = with_source(options, begun)
    say(f"make hmdb51, road {road.name}: {road.words} ({road.recipe_file}), {reason}")
    _say_what_it_takes(options, road, begun, gpu=gpu)
    with locked(folder) as lock:
        journal = read_journal(folder) or Journal(road=road.name, source=options.source)
        journal = dataclasses.replace(journal, source=options.source)
        write_journal(folder, journal)
        return _go(options, road, journal, manner=memory_options(road, gpu), lock=lock)


def _go(options: Options, road: Road, journal: Journal, *, manner: tuple[str, ...], lock: int) -> int:
    """Run what is not finished and write the report. manner: options of training."""
    folder, data = Path(options.runs) / options.name, data_stages(options, road)
    journal, code = run_stages(data, journal, folder=folder, lock=lock)
    if code:
        return code
    journal = dataclasses.replace(journal, archive_sha256=archive_sha256(options) or journal.archive_sha256)
    options, left_out = with_usable_splits(options, read_manifests(Path(options.manifests)))
    for sentence in left_out:
        say(sentence)
    models = model_stages(options, road, manner=manner)
    journal, code = run_stages(models, journal, earlier=data, folder=folder, lock=lock)
    if code:
        return code
    report, files = write_report(options, road, journal, archive=archive_sentence(journal), left_out=left_out)
    for remark in report.remarks:
        say(remark)
    say(f"{report.headline}; wrote {', '.join(map(str, files))}")
    return 0


def _say_what_it_takes(options: Options, road: Road, begun: Journal | None, *, gpu: float) -> None:
    """Say hours, disk and memory. Raises DataError where a disk is too small."""
    source = machine.look_at_source(options)
    found = needs(options, road, source, has_gpu=gpu > 0)
    print_table(
        f"What it takes in all, estimated for {counted(source.num_clips, 'clip')} and splits {options.splits}",
        ("stage", "time", "disk", "reckoned from"),
        table_rows(found),
    )
    say(f"memory: {road.memory}; here: {f'a GPU of {gpu:.0f} GB' if gpu else 'no GPU that torch can use'}")
    if options.init:
        say("time and memory are those of the recipe's own weights, not of INIT")
    if road is not ROADS["probe"] and not gpu:
        say("training without a GPU takes long; ROAD=probe is the road for this machine")
    finished = {each.stage for each in begun.finished} if begun else set()
    _check_disks([need for need in found if need.stage not in finished])


def _check_disks(found: Sequence[Need]) -> None:
    """Raise DataError where what is still to be written does not fit; folders on one disk share its free space."""
    missing = missing_bytes(found, present=machine.folder_bytes)
    for disk in {machine.disk_of(folder) for folder in missing}:
        folders = [folder for folder in missing if machine.disk_of(folder) == disk]
        needed, free = sum(missing[folder] for folder in folders), machine.free_bytes(folders[0])
        names = " and ".join(str(folder) for folder in folders)
        if needed > free:
            raise DataError(
                f"{needed / 1e9:.1f} GB more are needed on the disk of {names}, {free / 1e9:.1f} GB are free; free "
                "some, name folders on another disk (VIDEOS=, SHARDS=, RUNS=), or store smaller pictures (SIZE=128x176)"
            )
        say(f"{needed / 1e9:.1f} GB more are needed on the disk of {names}, {free / 1e9:.1f} GB are free")


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
