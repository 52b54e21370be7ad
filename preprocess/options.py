"""Options that several commands of hmdb-prep share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.next_command import Places

Videos = Annotated[
    Path, typer.Option("--videos", help="Folder of videos: <class>/<file>, or <class>/<clip>/ of pictures.")
]
Shards = Annotated[Path, typer.Option("--shards", help="Folder of shards.")]
Manifests = Annotated[Path, typer.Option("--manifests", help="Folder of manifests.")]

SourcePattern = Annotated[
    str | None,
    typer.Option(
        "--source-pattern",
        help="What names the source video: the first group of this regular expression in a file name without suffix "
        '(with a slash in it: in <class>/<name>); "": the names of HMDB51 and UCF101. Default: as before.',
    ),
]
Splits = Annotated[
    str | None,
    typer.Option(
        "--splits",
        help="Splits of one's own: a CSV file, a folder of UCF101's lists or of HMDB51's; auto: official ones, and "
        "others by source. Default: as before.",
    ),
]

NumTasks = Annotated[int, typer.Option("--num-tasks", help="Divide the work among this many independent tasks.")]
TaskId = Annotated[int, typer.Option("--task-id", help="Which of the tasks this is, from 0.")]

Engine = Annotated[
    str, typer.Option("--engine", help="What does the work: local, or ray (in tasks, on $RAY_ADDRESS if set).")
]

DEFAULT_VIDEOS = Places().videos
DEFAULT_MANIFESTS = Places().manifests
