"""The model card of an exported model: what it is, on which data, how good, with which limits. Markdown for the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2

from shared.checks import parse_json
from shared.classes import HMDB51_CLASSES
from shared.hub import HUB_PREFIX
from shared.shards.data_sets import short_id
from shared.terminal.console import counted
from shared.terminal.tables import markdown_table
from train.run.checkpoint import RunFacts
from train.trained.folders import EVALUATION_FOLDER, EVALUATION_JSON
from train.trained.model import LoadedModel
from train.trained.portable import LIBRARY, PIPELINE_TAG

_MEASURES = {"top1": "top-1", "top5": "top-5", "mean_class_accuracy": "mean class accuracy"}
_OWN_LICENCE = "apache-2.0"


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What `lsvit-train evaluate` has measured of these weights, in one view."""

    split: str
    num_clips: int
    values: Mapping[str, float]
    """By name: top1, top5 and mean_class_accuracy, in [0, 1]."""
    intervals: Mapping[str, tuple[float, float] | None]
    """95 % confidence intervals of the same, None where there is none."""
    remarks: tuple[str, ...]
    """What the numbers are not."""

    @property
    def table(self) -> str:
        """The table of the card."""
        rows = [
            (_MEASURES[key], _percent(value), " to ".join(map(_percent, self.intervals[key] or ())))
            for key, value in self.values.items()
        ]
        return "\n".join(markdown_table(("measure", "value", "95 % interval"), rows))


def read_measures(loaded: LoadedModel) -> Measures | None:
    """The evaluation in the model's folder; None where there is none, or one of other weights than these."""
    file = loaded.folder / EVALUATION_FOLDER / EVALUATION_JSON
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        (split,) = content["splits"]
        model = split["model"]
        if (model["checkpoint"], model["epoch"], content["dataset_id"], split["split"]) != (
            loaded.path.name,
            loaded.epoch,
            loaded.facts.dataset_id,
            loaded.facts.split,
        ):
            return None
        return Measures(
            split=loaded.facts.split,
            num_clips=int(split["num_clips"]),
            values={key: float(split[key]) for key in _MEASURES},
            intervals={key: _ends(split.get("intervals", {}).get(key)) for key in _MEASURES},
            remarks=tuple(map(str, split["remarks"])),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError):  # a card is written without it
        return None


def _ends(interval: Any) -> tuple[float, float] | None:
    return None if interval is None else (float(interval[0]), float(interval[1]))


def model_card(loaded: LoadedModel, *, name: str, measures: Measures | None, repo: str) -> str:
    """The text of README.md. name: of the run. repo: OWNER/NAME on the hub, empty where it is not known yet."""
    facts, init = loaded.facts, loaded.origin.init
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("train.trained", "templates"), undefined=jinja2.StrictUndefined, autoescape=False
    )
    return environment.get_template("card.md.j2").render(
        header=_header(loaded, name=name, measures=measures),
        name=name,
        facts=facts,
        is_hmdb51=_is_hmdb51(facts),
        model=facts.model_config,
        origin=loaded.origin,
        parameters=f"{sum(parameter.numel() for parameter in loaded.model.parameters()):,}",
        modules=_modules(facts),
        source=HUB_PREFIX + (repo or "OWNER/NAME"),
        data=_data(facts),
        init=init,
        trained=_trained(facts),
        measures=measures,
        licence=_licence(facts, init),
    )


def _header(loaded: LoadedModel, *, name: str, measures: Measures | None) -> str:
    """The YAML header, by which the hub finds and shows the model."""
    from huggingface_hub import EvalResult, ModelCardData

    facts, init = loaded.facts, loaded.origin.init
    results = [] if measures is None or facts.split == "all" else [*measures.values.items()]
    card = ModelCardData(
        license="other" if init else _OWN_LICENCE,
        license_name="of-the-initial-weights" if init else None,
        library_name=LIBRARY,
        pipeline_tag=PIPELINE_TAG,
        tags=["action-recognition", "lsvit", *_data_tags(facts)],
        base_model=init.removeprefix(HUB_PREFIX).partition("@")[0] if init.startswith(HUB_PREFIX) else None,
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=PIPELINE_TAG,
                dataset_type=_data_tags(facts)[0],
                dataset_name=f"{_data_name(facts)}, split {facts.split}",
                dataset_split="test",
                metric_type="accuracy",
                metric_name=_MEASURES[key],
                metric_value=round(value, 6),
            )
            for key, value in results
        ]
        or None,
    )
    return card.to_yaml() + "\n"


def _is_hmdb51(facts: RunFacts) -> bool:
    return facts.class_names == HMDB51_CLASSES and not facts.synthetic


def _data_tags(facts: RunFacts) -> list[str]:
    return ["synthetic-stick-figures" if facts.synthetic else "hmdb51" if _is_hmdb51(facts) else "own-videos"]


def _data_name(facts: RunFacts) -> str:
    if facts.synthetic:
        return "embedded synthetic stick figures"
    return "HMDB51" if _is_hmdb51(facts) else "own videos"


def _data(facts: RunFacts) -> str:
    part = "all clips" if facts.split == "all" else f"the training clips of split {facts.split}"
    what = f"data set {short_id(facts.dataset_id)}, {counted(len(facts.class_names), 'class')}"
    if facts.synthetic:
        return f"The embedded synthetic data set of hmdb51-lsvit, drawn stick figures ({what}): {part}."
    if _is_hmdb51(facts):
        return (
            "HMDB51 (Kuehne, Jhuang, Garrote, Poggio and Serre, ICCV 2011), clips of films and of the web "
            f"({what}): {part}."
        )
    return f"Videos of the author's own ({what}): {part}."


def _trained(facts: RunFacts) -> str:
    if not facts.trained_on.is_known:
        return "Which clips these were is not known altogether: an earlier version did not note it."
    number = sum(len(facts.trained_on.of(dataset_id)) for dataset_id in facts.trained_on.clips)
    return f"{counted(number, 'clip')} in all, validation clips and those of earlier runs among them."


def _modules(facts: RunFacts) -> str:
    model = facts.model_config
    modules = [f"{name} ({kind})" for name, kind in (("SMIF", model.smif), ("LMI", model.lmi)) if kind != "none"]
    return f"the motion modules {' and '.join(modules)}" if modules else "no motion modules"


def _licence(facts: RunFacts, init: str) -> str:
    sentences = []
    if _is_hmdb51(facts):
        sentences.append("HMDB51 is under CC BY 4.0 according to its page; the films in it belong to their owners.")
    elif not facts.synthetic:
        sentences.append("The videos' own licence decides what may be done with weights that have learnt from them.")
    sentences.append(
        f"The licence of the weights that training began with, {init}, holds for these too: name it in the header."
        if init
        else "The weights are under Apache-2.0, as the program that trained them, unless their author says otherwise."
    )
    return "\n".join(sentences)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
