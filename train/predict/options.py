"""``lsvit-train predict``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.machine.cores import available_cores
from train.options import DEFAULT_RUNS, BatchSize, Calibrated, Device, Run, Runs, ViewsText, refuse_unknown_options


def predict_command(
    run: Run,
    videos: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO...", help="Video files, folders of pictures, folders of both or patterns."),
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes of each video in the table.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every class, and nothing else.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a row a video or window.")] = None,
    csv_format: Annotated[
        Literal["probabilities", "competition"],
        typer.Option("--csv-format", help="probabilities: a column for each class; competition: the columns id,class."),
    ] = "probabilities",
    window: Annotated[
        float | None,
        typer.Option(
            "--window", metavar="SECONDS", help="Answer over time, for pieces so long, and not for the whole."
        ),
    ] = None,
    stride: Annotated[
        float | None,
        typer.Option("--stride", metavar="SECONDS", help="From window to window; default: as long as a window."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.png", help="With --window: draw what happens when.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", help="With --window: frames a second of folders of pictures.")
    ] = None,
    views: ViewsText = "1x1",
    calibrated: Calibrated = False,
    device: Device = "auto",
    batch_size: BatchSize = 8,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Decoding processes; default: one a core.")
    ] = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """P(action given video) in percent, from raw video files. Exit code 1 where a file fails; the rest is answered."""
    refuse_unknown_options(videos, command="predict")
    from train.predict.command import PredictOptions, predict

    options = PredictOptions(
        runs=runs,
        top=top,
        json=as_json,
        csv=csv,
        csv_format=csv_format,
        picture=picture,
        window=window,
        stride=stride,
        fps=fps,
        views=views,
        calibrated=calibrated,
        device=device,
        batch_size=batch_size,
        workers=workers or available_cores(),
    )
    code = predict(run, videos, options)
    raise typer.Exit(code)
