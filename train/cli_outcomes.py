"""The commands that take something from a trained model: parses and calls."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.errors import UsageError

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run: its folder, or its name below --runs.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of runs.")]
Shards = Annotated[Path, typer.Option("--shards", help="Folder of shards.")]
Manifests = Annotated[Path, typer.Option("--manifests", help="Folder of manifests.")]
Device = Annotated[str, typer.Option("--device", help="Where to compute: auto, cpu or cuda.")]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Clips at once.")]
ViewsText = Annotated[
    str,
    typer.Option("--views", metavar="CxS", help="Temporal candidates x spatial crops, averaged, such as 3x3."),
]

DEFAULT_RUNS = Path("runs")
DEFAULT_SHARDS = Path("data/shards")
DEFAULT_MANIFESTS = Path("data_manifests")


def add_outcome_commands(app: typer.Typer) -> None:
    """Add evaluate, predict, explain, embed, export and ablate to the app."""
    # HMDB51 has videos whose names begin with a dash: what is no option is taken for one of them.
    takes_videos = {"ignore_unknown_options": True}
    app.command("evaluate")(evaluate_command)
    app.command("predict", context_settings=takes_videos)(predict_command)
    app.command("explain", context_settings=takes_videos)(explain_command)
    app.command("embed")(embed_command)
    app.command("export")(export_command)
    app.command("ablate")(ablate_command)


def evaluate_command(
    run: Run,
    splits: Annotated[
        str, typer.Option("--splits", help="Splits of the run, such as 1,2,3; default: all it has.")
    ] = "",
    views: ViewsText = "1x1",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    device: Device = "auto",
    batch_size: BatchSize = 8,
    runs: Runs = DEFAULT_RUNS,
    shards: Shards = DEFAULT_SHARDS,
    manifests: Manifests = DEFAULT_MANIFESTS,
) -> None:
    """Measure a run on the test clips of its splits: accuracies, confusions, calibration, results by tag."""
    from train.evaluate import EvaluateOptions, evaluate

    options = EvaluateOptions(
        runs=runs,
        shards=shards,
        manifests=manifests,
        splits=splits,
        views=views,
        json=as_json,
        device=_device(device),
        batch_size=batch_size,
    )
    evaluate(run, options)


def predict_command(
    run: Run,
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="Video files, folders or patterns.")],
    top: Annotated[int, typer.Option("--top", help="Classes of each video in the table.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every class, and nothing else.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write one row a video.")] = None,
    csv_format: Annotated[
        Literal["probabilities", "competition"],
        typer.Option("--csv-format", help="Columns: every class's probability, or id,class."),
    ] = "probabilities",
    views: ViewsText = "1x1",
    device: Device = "auto",
    batch_size: BatchSize = 8,
    workers: Annotated[int | None, typer.Option("--workers", help="Decoding processes; default: one a core.")] = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """P(action given video) in percent, from raw video files. Exit code 1 where a file fails; the rest is answered."""
    _check_dashes(videos, command="predict")
    from train.predict import PredictOptions, predict

    options = PredictOptions(
        runs=runs,
        top=top,
        json=as_json,
        csv=csv,
        csv_format=csv_format,
        views=views,
        device=_device(device),
        batch_size=batch_size,
        workers=workers if workers is not None else len(os.sched_getaffinity(0)),
    )
    raise typer.Exit(predict(run, videos, options))


def explain_command(
    run: Run,
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write to; default: in the run's own.")
    ] = None,
    action: Annotated[str, typer.Option("--action", help="The class to explain; default: the predicted one.")] = "",
    device: Device = "auto",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Heatmaps over a video's frames: what the model looks at, as a picture, a video and a page."""
    _check_dashes([video], command="explain")
    from train.explain import ExplainOptions, explain

    explain(run, Path(video), ExplainOptions(runs=runs, out=out, action=action, device=_device(device)))


def embed_command(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="F.npz", help="File to write; default: features.npz in the run.")
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = 8,
    runs: Runs = DEFAULT_RUNS,
    shards: Shards = DEFAULT_SHARDS,
    manifests: Manifests = DEFAULT_MANIFESTS,
) -> None:
    """The model's features of every clip, as clip_id and features, for `hmdb-prep balance --features`."""
    from train.embed import EmbedOptions, embed

    options = EmbedOptions(
        runs=runs, shards=shards, manifests=manifests, out=out, device=_device(device), batch_size=batch_size
    )
    embed(run, options)


def export_command(
    run: Run,
    form: Annotated[
        Literal["onnx", "torch"], typer.Option("--format", help="onnx (extra `export`) or torch (torch.export).")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write; default: model.* in the run.")
    ] = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """A portable model, checked against the original on the same input; preprocessing and classes are inside."""
    from train.export import ExportOptions, export

    export(run, ExportOptions(runs=runs, form=form, out=out))


def ablate_command(
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="FILE", help="TOML file of rows; default: the built-in grid.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Seeds of each row: 0, 1, ...")] = 3,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML file of flags of `run` for every row.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the study: its folder below --runs.")] = "ablation",
    runs: Runs = DEFAULT_RUNS,
    shards: Shards = DEFAULT_SHARDS,
    manifests: Manifests = DEFAULT_MANIFESTS,
) -> None:
    """The effect of each improvement as one table: trains every row with every seed; the same call continues."""
    from train.ablate import AblateOptions, ablate

    options = AblateOptions(
        grid=grid, config=config, seeds=seeds, name=name, runs=runs, shards=shards, manifests=manifests
    )
    raise typer.Exit(ablate(options))


def _check_dashes(videos: Sequence[str], *, command: str) -> None:
    for video in videos:
        if video.startswith("-") and not Path(video).exists():
            raise UsageError(f"no such option or file: {video}; `lsvit-train {command} --help` lists the options")


def _device(name: str) -> str:
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device is {name!r}; it must be auto, cpu or cuda")
    return name
