"""The report of a run: curves, confusion matrix, configuration, environment; as one HTML page and as
Markdown.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from shared.files import write_text
from train.learn.metrics import precision_recall
from train.run.checkpoint import RunFacts
from train.run.config import RunConfig
from train.run.progress import EpochRow, Progress, Timing, read_timing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES_FILE = "curves.png"
CONFUSION_FILE = "confusion_validation.png"
_MOST_NAMED_CLASSES = 60  # beyond, class names on the axes cannot be read


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with a table (two or more columns) or a picture (a file of the run's folder), and a line of
    text.
    """

    title: str
    text: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    picture: str = ""


def write_report(folder: Path, *, facts: RunFacts, config: RunConfig, progress: Progress) -> Path:
    """Write report.html (self-contained), report.md and the pictures; returns the path of the HTML page."""
    if progress.history:
        draw_curves(progress.history).savefig(folder / CURVES_FILE, dpi=100)
    if progress.best_confusion is not None:
        confusion = np.array(progress.best_confusion, dtype=np.int64)
        draw_confusion(confusion, facts.class_names).savefig(folder / CONFUSION_FILE, dpi=100)
    sections = _sections(facts, config, progress, read_timing(folder))
    write_text(folder / "report.md", _markdown(folder.name, sections))
    write_text(folder / "report.html", _html(folder, sections))
    return folder / "report.html"


def draw_curves(history: tuple[EpochRow, ...]) -> Figure:
    """Loss, top-1 and learning rate over the epochs; the best epoch is marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    epochs = [row.epoch for row in history]
    validated = [row for row in history if row.val_loss is not None]
    loss.plot(epochs, [row.train_loss for row in history], marker=".", label="training")
    accuracy.plot(epochs, [100 * row.train_top1 for row in history], marker=".", label="training")
    if validated:
        val_epochs = [row.epoch for row in validated]
        loss.plot(val_epochs, [row.val_loss or 0.0 for row in validated], marker=".", label="validation")
        accuracy.plot(val_epochs, [100 * (row.val_top1 or 0.0) for row in validated], marker=".", label="validation")
        best = [row for row in validated if row.best]
        accuracy.plot(best[-1].epoch, 100 * (best[-1].val_top1 or 0.0), "k*", markersize=12, label="best")
    rate.plot(epochs, [row.learning_rate for row in history], marker=".")
    for axes, title in ((loss, "loss"), (accuracy, "top-1 in %"), (rate, "learning rate")):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
    loss.legend()
    accuracy.legend()
    return figure


def draw_confusion(confusion: npt.NDArray[np.int64], class_names: tuple[str, ...]) -> Figure:
    """Share of each true class (row) that was predicted as each class (column), in percent."""
    from matplotlib.figure import Figure

    shares = 100 * confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    side = min(14.0, 3.5 + 0.25 * len(class_names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=100, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true", title="% of the true class")
    if len(class_names) <= _MOST_NAMED_CLASSES:
        places = range(len(class_names))
        axes.set_xticks(places, class_names, rotation=90, fontsize=7)
        axes.set_yticks(places, class_names, fontsize=7)
    figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def _sections(facts: RunFacts, config: RunConfig, progress: Progress, timing: list[Timing]) -> list[Section]:
    sections = [Section(title="Result", text=_summary(facts, config, progress))]
    if progress.history:
        sections.append(Section(title="Curves", picture=CURVES_FILE, text=_last_epochs(progress)))
    if progress.best_confusion is not None:
        confusion = np.array(progress.best_confusion, dtype=np.int64)
        text = f"Validation clips in epoch {progress.best_epoch}; the test clips play no part."
        sections.append(Section(title="Confusion matrix", picture=CONFUSION_FILE, text=text))
        sections.append(_class_table(confusion, facts.class_names))
    values = tuple((key, str(value)) for key, value in dataclasses.asdict(config).items())
    model = tuple((key, str(value)) for key, value in dataclasses.asdict(facts.model_config).items())
    return [
        *sections,
        Section(title="Data", columns=("what", "value"), rows=_data_rows(facts)),
        Section(title="Configuration", columns=("key", "value"), rows=values),
        Section(title="Model", columns=("key", "value"), rows=model),
        Section(title="Environment", columns=("what", "value"), rows=_environment_rows(timing)),
    ]


def _summary(facts: RunFacts, config: RunConfig, progress: Progress) -> str:
    best = next((row for row in progress.history if row.epoch == progress.best_epoch), None)
    parts = [f"Epoch {progress.epoch} of {config.epochs}: {progress.finished or 'not finished'}."]
    if best is not None and best.val_top1 is not None:
        parts.append(
            f"Best validation top-1 {100 * best.val_top1:.1f} % in epoch {best.epoch} ({best.val_clips} clips)."
        )
    else:
        parts.append("Nothing was set aside for validation: best is the last state.")
    if facts.split == "all":
        parts.append("Trained on every clip: a sanity check, not a result.")
    if facts.synthetic:
        parts.append("The data is the embedded synthetic set: these numbers say nothing about HMDB51.")
    return " ".join(parts)


def _last_epochs(progress: Progress) -> str:
    last = progress.history[-1]
    return f"Last epoch: training loss {last.train_loss:.4f}, training top-1 {100 * last.train_top1:.1f} %."


def _class_table(confusion: npt.NDArray[np.int64], class_names: tuple[str, ...]) -> Section:
    precision, recall = precision_recall(confusion)
    counts = confusion.sum(axis=1)
    rows = tuple(
        (name, str(int(counts[i])), f"{100 * precision[i]:.1f}", f"{100 * recall[i]:.1f}")
        for i, name in enumerate(class_names)
        if counts[i] or confusion[:, i].any()
    )
    return Section(title="Classes (validation)", columns=("class", "clips", "precision %", "recall %"), rows=rows)


def _data_rows(facts: RunFacts) -> tuple[tuple[str, str], ...]:
    return (
        ("data set id", facts.dataset_id),
        ("split", facts.split),
        ("classes", f"{len(facts.class_names)}: {', '.join(facts.class_names)}"),
        ("stored frames", f"{facts.height}x{facts.width}, fit {facts.fit}"),
        ("segments x frames of a segment", f"{facts.num_segments} x {facts.frames_per_segment}"),
        ("plan (SHA-256)", facts.plan_sha256 or "none"),
    )


def _environment_rows(timing: list[Timing]) -> tuple[tuple[str, str], ...]:
    seconds = sum(row.seconds for row in timing)
    clips = sum(row.seconds * row.clips_per_second for row in timing)
    waited = sum(row.seconds * row.data_wait_share for row in timing)
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return (
        ("Python", platform.python_version()),
        ("torch", torch.__version__),
        ("system", platform.platform()),
        ("CPU cores, torch threads", f"{os.cpu_count()}, {torch.get_num_threads()}"),
        ("GPU", ", ".join(devices) or "none"),
        ("training time", f"{seconds / 60:.1f} minutes, {clips / seconds:.1f} clips/s" if seconds else "none"),
        ("waiting for data", f"{100 * waited / seconds:.1f} % of it" if seconds else "none"),
    )


def _markdown(name: str, sections: list[Section]) -> str:
    lines = [f"# Run {name}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        lines += [f"![{section.title}]({section.picture})", ""] if section.picture else []
        if section.rows:
            lines.append("| " + " | ".join(section.columns) + " |")
            lines.append("| " + " | ".join("---" for _ in section.columns) + " |")
            lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in section.rows]
            lines.append("")
    return "\n".join(lines)


def _html(folder: Path, sections: list[Section]) -> str:
    import jinja2

    pictures = {
        section.picture: base64.b64encode((folder / section.picture).read_bytes()).decode()
        for section in sections
        if section.picture
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_PAGE).render(name=folder.name, sections=sections, pictures=pictures)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Run {{ name }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color:
#222; } table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; overflow-wrap:
anywhere; } img { max-width: 100%; }
</style>
</head>
<body>
<h1>Run {{ name }}</h1>
{% for section in sections %}
<h2>{{ section.title }}</h2>
{% if section.text %}<p>{{ section.text }}</p>{% endif %}
{% if section.picture %}<img src="data:image/png;base64,{{ pictures[section.picture] }}" alt="{{ section.title
}}">{% endif %} {% if section.rows %}
<table>
<tr>{% for column in section.columns %}<th scope="col">{{ column }}</th>{% endfor %}</tr>
{% for row in section.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% endif %}
{% endfor %}
</body>
</html>
"""
