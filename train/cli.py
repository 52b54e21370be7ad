"""The command line of lsvit-train: parses and calls. Everything heavy is imported inside the commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.errors import UsageError
from shared.next_command import Places, say_next
from shared.shards.places import DEFAULT_CACHE_GB, shards_place
from shared.terminal.console import run_app, show_version
from train.describe.options import describe_command
from train.options import (
    DEFAULT_MANIFESTS,
    DEFAULT_RUNS,
    DEFAULT_SHARD_CACHE,
    DEFAULT_SHARDS,
    DEFAULT_VIDEOS,
    TAKES_VIDEOS,
    BatchSize,
    Calibrated,
    Device,
    Manifests,
    Run,
    Runs,
    ShardCache,
    ShardCacheGb,
    Shards,
    ViewsText,
    refuse_unknown_options,
)
from train.predict.options import predict_command
from train.probe.options import add_probe_command
from train.run.options import add_run_command

app = typer.Typer(
    name="lsvit-train",
    help="LS-ViT on clip shards: training, evaluation, predictions from raw video, heatmaps.",
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
    """LS-ViT on clip shards: training, evaluation, predictions from raw video, heatmaps."""


add_run_command(app)
add_probe_command(app)


@app.command("evaluate")
def evaluate_command(
    run: Run,
    splits: Annotated[
        str, typer.Option("--splits", help="Splits of the run, such as 1,2,3; default: all it has.")
    ] = "",
    views: ViewsText = "1x1",
    calibrated: Calibrated = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    device: Device = "auto",
    batch_size: BatchSize = 8,
    runs: Runs = DEFAULT_RUNS,
    shards: Shards = DEFAULT_SHARDS,
    shard_cache: ShardCache = DEFAULT_SHARD_CACHE,
    shard_cache_gb: ShardCacheGb = DEFAULT_CACHE_GB,
    manifests: Manifests = DEFAULT_MANIFESTS,
) -> None:
    """Measure a run on the test clips of its splits: accuracies, confusions, calibration, results by tag."""
    from train.evaluate.command import EvaluateOptions, evaluate

    place = shards_place(shards, cache=shard_cache, cache_gb=shard_cache_gb)
    options = EvaluateOptions(
        runs=runs,
        shards=place,
        manifests=manifests,
        splits=splits,
        views=views,
        calibrated=calibrated,
        json=as_json,
        device=device,
        batch_size=batch_size,
    )
    evaluation = evaluate(run, options)
    if not as_json:
        clip = evaluation.results[0].clearest_mistake
        say_next("evaluate", [run, clip], places=Places(runs=runs, shards=place, manifests=manifests))


@app.command("compare")
def compare_command(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two runs or more, each evaluated before.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.html", help="Write a page too.")] = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Several runs side by side: accuracies, curves, and which clips changed sides (McNemar's exact test)."""
    from train.compare.command import CompareOptions, compare

    compare(names, CompareOptions(runs=runs, json=as_json, out=out))


app.command("predict", context_settings=TAKES_VIDEOS)(predict_command)


@app.command("explain", context_settings=TAKES_VIDEOS)
def explain_command(
    run: Run,
    video: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO|CLIP_ID", help="A video file, a folder of pictures, or a stored clip: <class>/<file stem>."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write to DIR/<video>/<action>; default: explanations in the run."),
    ] = None,
    action: Annotated[
        list[str] | None,
        typer.Option("--action", help="The class to explain, also several times; default: the predicted one."),
    ] = None,
    device: Device = "auto",
    runs: Runs = DEFAULT_RUNS,
    videos: Annotated[Path, typer.Option("--videos", help="Folder of videos.")] = DEFAULT_VIDEOS,
    shards: Shards = DEFAULT_SHARDS,
    shard_cache: ShardCache = DEFAULT_SHARD_CACHE,
    shard_cache_gb: ShardCacheGb = DEFAULT_CACHE_GB,
    manifests: Manifests = DEFAULT_MANIFESTS,
) -> None:
    """Heatmaps over a video's frames: what the model looks at, as a picture, a video and a page for each action."""
    refuse_unknown_options([video], command="explain")
    from train.explain.clips import DataFolders
    from train.explain.command import ExplainOptions, explain

    place = shards_place(shards, cache=shard_cache, cache_gb=shard_cache_gb)
    data = DataFolders(videos=videos, shards=place, manifests=manifests)
    explain(run, video, ExplainOptions(runs=runs, out=out, actions=tuple(action or ()), data=data, device=device))


@app.command("serve")
def serve_command(
    run: Run,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of 127.0.0.1; 0: any that is free.")
    ] = 8051,
    device: Device = "auto",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """A page on this machine alone, where a video is dropped or recorded: percentages and heatmaps (extra `serve`)."""
    from train.serve.command import ServeOptions, serve

    serve(run, ServeOptions(runs=runs, port=port, device=device))


@app.command("embed")
def embed_command(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="F.npz", help="File to write; default: features.npz in the run.")
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = 8,
    runs: Runs = DEFAULT_RUNS,
    shards: Shards = DEFAULT_SHARDS,
    shard_cache: ShardCache = DEFAULT_SHARD_CACHE,
    shard_cache_gb: ShardCacheGb = DEFAULT_CACHE_GB,
    manifests: Manifests = DEFAULT_MANIFESTS,
) -> None:
    """The model's features of every clip, as clip_id and features, for `hmdb-prep balance --features`."""
    from train.trained.embed import EmbedOptions, embed

    place = shards_place(shards, cache=shard_cache, cache_gb=shard_cache_gb)
    options = EmbedOptions(runs=runs, shards=place, manifests=manifests, out=out, device=device, batch_size=batch_size)
    file = embed(run, options)
    say_next("embed", ["--features", str(file)], places=Places(shards=place, manifests=manifests))


@app.command("export")
def export_command(
    run: Run,
    form: Annotated[
        Literal["onnx", "torch", "hub"] | None,
        typer.Option(
            "--format",
            help="onnx (extra `export`), torch (torch.export) or hub (a folder for the Hugging Face hub); "
            "has to be given.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PATH", help="File or folder to write; default: model.* or hub in the run."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="OWNER/NAME", help="With --format hub: upload it to this repository."),
    ] = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """A portable model, checked against the original; preprocessing and classes are inside. hub: for others to use."""
    if form is None:
        raise UsageError("--format is missing; give onnx (for which the extra `export` is needed), torch or hub")
    from train.trained.export import ExportOptions, export

    export(run, ExportOptions(runs=runs, form=form, out=out, push=push))


@app.command("ablate")
def ablate_command(
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="FILE", help="TOML file of rows; default: the built-in grid.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds of each row: 0, 1, ...")] = 3,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML file of flags of `run` for every row.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the study: its folder below --runs.")] = "ablation",
    runs: Runs = DEFAULT_RUNS,
    shards: Shards = DEFAULT_SHARDS,
    shard_cache: ShardCache = DEFAULT_SHARD_CACHE,
    shard_cache_gb: ShardCacheGb = DEFAULT_CACHE_GB,
    manifests: Manifests = DEFAULT_MANIFESTS,
) -> None:
    """The effect of each improvement as one table: trains every row with every seed; the same call continues."""
    from train.ablate.command import AblateOptions, ablate

    place = shards_place(shards, cache=shard_cache, cache_gb=shard_cache_gb)
    options = AblateOptions(
        grid=grid, config=config, seeds=seeds, name=name, runs=runs, shards=place, manifests=manifests
    )
    raise typer.Exit(ablate(options))


app.command("describe")(describe_command)


def main() -> None:
    """Entry point of ``lsvit-train``."""
    # OpenMP reads this when torch is imported. Threads that spin while they wait take the cores from those that work:
    # on a machine that does other things too, training on the CPU was several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_app(app, program="lsvit-train")


if __name__ == "__main__":
    main()
