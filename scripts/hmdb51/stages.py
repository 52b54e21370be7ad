"""The commands of a road in their order. Pure: nothing is run here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.hmdb51.options import Options
from scripts.hmdb51.roads import Road

CANDIDATES = 3  # K, the stored frames of a segment from which training draws
EVALUATE = "evaluate split "


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command of hmdb-prep or lsvit-train."""

    name: str
    command: tuple[str, ...]
    """What settles its result. A stage that is finished is left out while this stays the same."""
    manner: tuple[str, ...] = ()
    """Options that change where and how fast, and not the result."""
    leaves: tuple[Path, ...] = ()
    """What is there once it is finished."""

    @property
    def words(self) -> tuple[str, ...]:
        """The whole command, as it is called."""
        return (*self.command, *self.manner)


def data_stages(options: Options, road: Road) -> tuple[Stage, ...]:
    """From the archive to shards that are checked; the weights first. options: with a name and a source."""
    places = _places(options, "shards", "manifests")
    videos, manifests = Path(options.videos), Path(options.manifests)
    size = ("--size", options.size) if options.size else ()
    extract = ("hmdb-prep", "extract", *_places(options, "videos"), *places)
    stages = [_weights(options, road)]
    if not is_videos(options):
        to = () if options.videos == Options.videos else (options.videos,)
        stages.append(Stage(name="fetch", command=("hmdb-prep", "fetch", options.source, *to), leaves=(videos,)))
    stages += [
        Stage(
            name="extract",
            command=(*extract, "--frames-per-segment", str(CANDIDATES), *size),
            manner=("--workers", options.workers) if options.workers else (),
            leaves=(Path(options.shards), manifests / "dataset.json"),
        ),
        Stage(name="verify", command=("hmdb-prep", "verify", *places)),
        Stage(name="eda", command=("hmdb-prep", "eda", *places), leaves=(manifests / "eda.html",)),
    ]
    return tuple(stages)


def model_stages(options: Options, road: Road, *, manner: tuple[str, ...]) -> tuple[Stage, ...]:
    """Training on every split, and only then the first test clip. manner: options of training."""
    evaluations = (_evaluation(options, split) for split in options.split_names)
    return (_training(options, road, manner=manner), *evaluations)


def is_videos(options: Options) -> bool:
    """Whether SOURCE is the folder of videos itself, so that nothing is to be fetched."""
    return Path(options.source).expanduser().resolve() == Path(options.videos).resolve()


def split_folder(options: Options, split: str) -> Path:
    """Where the run of one split lies."""
    folder = Path(options.runs) / options.name
    return folder / f"split{split}" if len(options.split_names) > 1 else folder


def _places(options: Options, *names: str) -> tuple[str, ...]:
    """The folders that are not the commands' defaults, as options."""
    given = [(name, getattr(options, name)) for name in names]
    return tuple(word for name, path in given if path != getattr(Options, name) for word in (f"--{name}", path))


def _weights(options: Options, road: Road) -> Stage:
    """Reads, and downloads, the weights first: better to fail in the first minute than after a night."""
    settings = road.settings()
    motion = ("--smif", "none", "--lmi", "none") if road.command == "probe" else ()
    activation = "auto" if options.init else str(settings.get("activation", "auto"))
    activations = () if activation == "auto" else ("--activation", activation)
    init = options.init or str(settings["init"])
    command = ("lsvit-train", "describe", "--init", init, *activations, *motion, *_places(options, "runs"))
    return Stage(name="weights", command=command)


def _training(options: Options, road: Road, *, manner: tuple[str, ...]) -> Stage:
    settings = road.settings()
    given: list[str] = []
    if options.name != settings["name"]:
        given += ["--name", options.name]
    if options.splits != settings["split"]:
        given += ["--split", options.splits]
    if options.init:
        given += ["--init", options.init]
        for key in ("preset", "activation"):  # which the recipe sets for its own weights
            given += [f"--{key}", "auto"] if key in settings else []
    if options.size:
        given += ["--img-size", "0"]  # the largest that fits, as far as 224
    for key in ("epochs", "seed"):
        given += [f"--{key}", getattr(options, key)] if getattr(options, key) else []
    command = ("lsvit-train", road.command, "--config", road.recipe_file, "--resume", *given)
    places = _places(options, "shards", "manifests", "runs")
    runs = tuple(split_folder(options, split) / "checkpoints" / "last.pt" for split in options.split_names)
    return Stage(name="train", command=(*command, *places), manner=manner, leaves=runs)


def _evaluation(options: Options, split: str) -> Stage:
    """One split a command, so that a kill costs the split it was at."""
    splits = ("--splits", split) if len(options.split_names) > 1 else ()
    command = ("lsvit-train", "evaluate", options.name, *splits, *_places(options, "shards", "manifests", "runs"))
    return Stage(
        name=f"{EVALUATE}{split}",
        command=command,
        leaves=(split_folder(options, split) / "evaluation" / "metrics.json",),
    )
