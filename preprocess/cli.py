"""The command line of hmdb-prep: parses and calls. Everything heavy is imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from preprocess.options import (
    DEFAULT_MANIFESTS,
    DEFAULT_VIDEOS,
    Engine,
    Manifests,
    NumTasks,
    Shards,
    SourcePattern,
    Splits,
    TaskId,
    Videos,
)
from shared.next_command import DEFAULT_SHARDS, Places, say_next
from shared.terminal.console import run_app, show_version

app = typer.Typer(
    name="hmdb-prep",
    help="HMDB51 videos into exact training clips: shards, manifests, a report and a balancing plan.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. May stand anywhere.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=show_version)
    ] = False,
) -> None:
    """HMDB51 videos into exact training clips: shards, manifests, a report and a balancing plan."""


@app.command()
def synth(
    destination: Annotated[Path, typer.Argument(metavar="[DEST]", help="Folder to write to.")] = DEFAULT_VIDEOS,
    clips: Annotated[int, typer.Option("--clips", help="Number of videos.")] = 400,
    classes: Annotated[int, typer.Option("--classes", help="Number of classes.")] = 10,
    difficulty: Annotated[str, typer.Option("--difficulty", help="plain, moving or cluttered.")] = "plain",
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.")] = 0,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes; default: one a core.")] = None,
) -> None:
    """Render the embedded data set: encoded videos of stick figures in HMDB51's layout."""
    from preprocess.synth.command import synthesize
    from shared.terminal.console import say

    summary = synthesize(
        destination, num_clips=clips, num_classes=classes, difficulty=difficulty, seed=seed, num_workers=workers
    )
    say(summary.describe())
    say_next("synth", places=Places(videos=destination))


@app.command()
def fetch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="An address, a .rar, .zip, .tar or .tar.gz archive, a folder, or hf:OWNER/NAME[@REVISION][/FILE].",
        ),
    ],
    destination: Annotated[Path, typer.Argument(metavar="[DEST]", help="Folder to write to.")] = DEFAULT_VIDEOS,
    sha256: Annotated[str | None, typer.Option("--sha256", help="Expected SHA-256 of the archive.")] = None,
) -> None:
    """Bring HMDB51 or another data set to DEST/<class>/: download (continued after a break), check and unpack."""
    from preprocess.fetch.command import fetch as fetch_archive
    from preprocess.fetch.summary import print_summary

    summary = fetch_archive(source, destination, sha256=sha256)
    code = print_summary(summary)
    if not code:
        words = [] if summary.splits is None else ["--splits", str(summary.splits)]
        say_next("fetch", words, places=Places(videos=destination))
    raise typer.Exit(code)


@app.command()
def extract(
    videos: Videos = DEFAULT_VIDEOS,
    shards: Shards = DEFAULT_SHARDS,
    manifests: Manifests = DEFAULT_MANIFESTS,
    device: Annotated[
        str, typer.Option("--device", help="Where to decode: cpu, cuda, or auto (the faster one).")
    ] = "cpu",
    size: Annotated[
        str, typer.Option("--size", help="Stored size: HEIGHTxWIDTH, one number for a square, or native.")
    ] = "224x304",
    fit: Annotated[
        str, typer.Option("--fit", help="How a picture of another shape is fitted: crop, squash or pad.")
    ] = "crop",
    num_frames: Annotated[int, typer.Option("--num-frames", help="Segments T of a clip.")] = 16,
    frames_per_segment: Annotated[
        int, typer.Option("--frames-per-segment", help="Stored candidates K of each segment; odd.")
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            help="Decoding processes; default: one a core (at most 8 on a GPU), with --engine ray one a task.",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds after which one video is given up.")] = 300.0,
    clips_per_shard: Annotated[
        int, typer.Option("--clips-per-shard", help="Clips of a shard, at most (and 256 MB).")
    ] = 64,
    splits: Splits = None,
    source_pattern: SourcePattern = None,
    fps: Annotated[
        float, typer.Option("--fps", help="Frames a second of folders of pictures, which do not say it; 0: not known.")
    ] = 0.0,
    num_tasks: NumTasks = 1,
    task_id: TaskId = 0,
    engine: Engine = "local",
    gpus_per_task: Annotated[
        float | None,
        typer.Option("--gpus-per-task", help="Share of a GPU for each Ray task on CUDA; default: 0.25."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the extraction that is there and start anew.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any video was quarantined.")] = False,
) -> None:
    """Decode, sample and measure the videos; write shards and manifests. Continues where it stopped."""
    from preprocess.extract.command import run_extraction
    from preprocess.extract.extraction_plan import make_parameters
    from preprocess.extract.rules import AskedRules
    from preprocess.extract.settings import ExtractionSettings

    parameters = make_parameters(
        size=size,
        fit=fit,
        num_segments=num_frames,
        frames_per_segment=frames_per_segment,
        clips_per_shard=clips_per_shard,
        folder_fps=fps,
    )
    settings = ExtractionSettings(
        videos=videos,
        shards=shards,
        manifests=manifests,
        parameters=parameters,
        asked=AskedRules(source_pattern=source_pattern, splits=splits),
        device=device,
        num_workers=workers,
        timeout_seconds=timeout,
        num_tasks=num_tasks,
        task_id=task_id,
        overwrite=overwrite,
        strict=strict,
        engine=engine,
        gpus_per_task=gpus_per_task,
    )
    if run_extraction(settings) is not None:
        say_next("extract", places=Places(shards=shards, manifests=manifests))


@app.command()
def merge(
    videos: Videos = DEFAULT_VIDEOS,
    shards: Shards = DEFAULT_SHARDS,
    manifests: Manifests = DEFAULT_MANIFESTS,
    splits: Splits = None,
    source_pattern: SourcePattern = None,
    num_tasks: NumTasks = 1,
    task_id: TaskId = 0,
    engine: Engine = "local",
) -> None:
    """Rebuild the manifests from the shards: after --num-tasks, to repair them, or with other splits and sources."""
    from preprocess.extract.engines.choice import reader_of
    from preprocess.extract.engines.tasks import make_task
    from preprocess.extract.finish.merge_tasks import run_merge
    from preprocess.extract.rules import AskedRules
    from shared.video.listing import is_synthetic

    is_whole = run_merge(
        shards,
        manifests,
        task=make_task(num_tasks=num_tasks, task_id=task_id),
        synthetic=is_synthetic(videos),
        asked=AskedRules(source_pattern=source_pattern, splits=splits),
        read=reader_of(engine, num_tasks=num_tasks),
    )
    if is_whole:
        say_next("merge", places=Places(shards=shards, manifests=manifests))


@app.command()
def verify(
    shards: Shards = DEFAULT_SHARDS,
    manifests: Manifests = DEFAULT_MANIFESTS,
    num_tasks: NumTasks = 1,
    task_id: TaskId = 0,
    engine: Engine = "local",
) -> None:
    """Check every shard and manifest row against the checksums; list the faults, exit 1 if there are any."""
    from preprocess.extract.engines.choice import reader_of
    from preprocess.extract.engines.tasks import make_task
    from preprocess.extract.finish.verify import run_verify

    task, read = make_task(num_tasks=num_tasks, task_id=task_id), reader_of(engine, num_tasks=num_tasks)
    run_verify(shards, manifests, task=task, read=read)
    say_next("verify", places=Places(shards=shards, manifests=manifests))


@app.command()
def eda(
    shards: Shards = DEFAULT_SHARDS,
    manifests: Manifests = DEFAULT_MANIFESTS,
    out: Annotated[Path | None, typer.Option("--out", help="HTML report; default: <manifests>/eda.html.")] = None,
) -> None:
    """Print findings and tables of the data set and write one self-contained HTML report."""
    from preprocess.eda.command import run_eda

    run_eda(manifests=manifests, shards=shards, out=out or manifests / "eda.html")
    say_next("eda", places=Places(shards=shards, manifests=manifests))


@app.command()
def balance(
    shards: Shards = DEFAULT_SHARDS,
    manifests: Manifests = DEFAULT_MANIFESTS,
    split: Annotated[
        str, typer.Option("--split", help="The split whose training rows are balanced: 1, 2, 3 or full.")
    ] = "1",
    val_fraction: Annotated[
        float,
        typer.Option("--val-fraction", help="Share of them left to validation, by source, as in `lsvit-train run`."),
    ] = 0.1,
    strategy: Annotated[
        str, typer.Option("--strategy", help="smote, oversample (repetition), undersample or none.")
    ] = "smote",
    target: Annotated[
        str, typer.Option("--target", help="Clips of each class afterwards: median, mean, max or a number.")
    ] = "median",
    k: Annotated[int, typer.Option("--k", help="Nearest neighbours that SMOTE chooses from.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all choices.")] = 0,
    features: Annotated[
        Path | None, typer.Option("--features", help="A trained model's features, from `lsvit-train embed`.")
    ] = None,
) -> None:
    """Write the balancing plan for the training rows of one split."""
    from preprocess.balance.command import BalanceSettings, run_balance

    settings = BalanceSettings(
        manifests=manifests,
        shards=shards,
        split=split,
        val_fraction=val_fraction,
        strategy=strategy,
        target=target,
        k=k,
        seed=seed,
        features=features,
    )
    run_balance(settings)
    words = [] if split == "1" else ["--split", split]
    words += [] if val_fraction == 0.1 else ["--val-fraction", f"{val_fraction:g}"]
    say_next("balance", words, places=Places(shards=shards, manifests=manifests))


@app.command()
def doctor(
    data: Annotated[Path, typer.Option("--data", help="Folder on the disk where the data shall lie.")] = Path("data"),
) -> None:
    """Check Python, torch, torchcodec, FFmpeg, CUDA, HDF5, disk and cores; say what is wrong and how to mend it."""
    from preprocess.doctor.command import diagnose, print_diagnosis

    code = print_diagnosis(diagnose(data=data))
    if not code:
        say_next("doctor", places=Places())
    raise typer.Exit(code)


def main() -> None:
    """Entry point of the console script."""
    run_app(app, program="hmdb-prep")


if __name__ == "__main__":
    main()
