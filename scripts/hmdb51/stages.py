"""The commands of a road in their order, and what of the variables settles a training. Nothing is run here."""

from __future__ import annotations

from pathlib import Path

from scripts.hmdb51.journal import Stage
from scripts.hmdb51.options import Options
from scripts.hmdb51.roads import ROOT, Road
from shared.files import sha256_of

CANDIDATES = 3  # K, the stored frames of a segment from which training draws


def weights_stage(options: Options, road: Road) -> Stage:
    """Reads, and downloads, the weights first: better to fail in the first minute than after a night."""
    settings = road.settings()
    motion = ("--smif", "none", "--lmi", "none") if road.command == "probe" else ()
    activation = "auto" if options.init else str(settings.get("activation", "auto"))
    activations = () if activation == "auto" else ("--activation", activation)
    init = options.init or str(settings["init"])
    command = ("lsvit-train", "describe", "--init", init, *activations, *motion, "--runs", options.runs)
    return Stage(name="weights", command=command, reads=_weights(options))


def fetch_stages(options: Options) -> tuple[Stage, ...]:
    """From the archive to videos; nothing where SOURCE is the folder of videos itself. options: with a source."""
    if is_videos(options):
        return ()
    return (
        Stage(
            name="fetch",
            command=("hmdb-prep", "fetch", options.source, options.videos),
            reads=(Path(options.source).expanduser(),),
            leaves=(Path(options.videos),),
            advice=f"SOURCE={options.videos} goes on with the videos that are there",
        ),
    )


def data_stages(options: Options) -> tuple[Stage, ...]:
    """From videos to shards that are checked."""
    videos, manifests = Path(options.videos), Path(options.manifests)
    places = ("--shards", options.shards, "--manifests", options.manifests)
    extract = ("hmdb-prep", "extract", "--videos", options.videos, *places, "--frames-per-segment", str(CANDIDATES))
    return (
        Stage(
            name="extract",
            command=(*extract, *(("--size", options.size) if options.size else ())),
            manner=("--workers", options.workers) if options.workers else (),
            reads=(videos,),
            leaves=(Path(options.shards), manifests / "dataset.json"),
            advice="other videos and settings need folders of their own (SHARDS=, MANIFESTS=)",
        ),
        Stage(name="verify", command=("hmdb-prep", "verify", *places)),
        Stage(name="eda", command=("hmdb-prep", "eda", *places), leaves=(manifests / "eda.html",)),
    )


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


def settles_training(options: Options, road: Road) -> dict[str, str]:
    """What must not change once training has begun: variables, recipe and INIT's content, empty where gone."""
    variables = ("init", "splits", "epochs", "seed", "size")
    files = sorted(file for path in _weights(options) for file in (path, *path.glob("*")) if file.is_file())
    return {
        **{name.upper(): getattr(options, name) for name in variables},
        "the recipe": sha256_of(ROOT / road.recipe_file),
        "the weights of INIT": " ".join(map(sha256_of, files)),
    }


def _weights(options: Options) -> tuple[Path, ...]:
    """Where INIT lies on this machine: a file, or a run's checkpoints; nowhere for the recipe's and the hub's."""
    places = (Path(options.runs) / options.init, Path(options.init)) if options.init else ()
    files = [place / part for place in places for part in ("checkpoints", "model.safetensors")]
    return tuple(path for path in files if path.exists()) + tuple(place for place in places if place.is_file())


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
    runs = tuple(split_folder(options, split) / "checkpoints" / "last.pt" for split in options.split_names)
    return Stage(
        name="train",
        command=(*command, *_run_places(options)),
        manner=manner,
        leaves=runs,
        advice="on other data it begins anew under another NAME=",
    )


def _evaluation(options: Options, split: str) -> Stage:
    """One split a command, so that a kill costs the split it was at."""
    splits = ("--splits", split) if len(options.split_names) > 1 else ()
    return Stage(
        name=f"evaluate split {split}",
        command=("lsvit-train", "evaluate", options.name, *splits, *_run_places(options)),
        leaves=(split_folder(options, split) / "evaluation" / "metrics.json",),
    )


def _run_places(options: Options) -> tuple[str, ...]:
    return ("--shards", options.shards, "--manifests", options.manifests, "--runs", options.runs)
