"""The report of a run: curves, confusion matrix, configuration, environment; as one HTML page and as Markdown."""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from shared.console import counted
from shared.files import whole_file, write_text
from shared.pages import data_address, render_page
from shared.tables import markdown_table
from train.confusions.picture import write_confusion
from train.learn.metrics import precision_recall
from train.learn.precision import half_precision
from train.learn.processes import choose_device
from train.run.checkpoint import RunFacts
from train.run.config import RunConfig
from train.run.pictures import draw_curves
from train.run.progress import EpochRow, Progress, Timing, read_timing

CURVES_FILE = "curves.png"
CONFUSION_FILE = "confusion_validation.png"
REPORT_FILE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a line of text, and a picture or a table below it."""

    title: str
    text: str = ""
    picture: str = ""
    """A file of the run's folder."""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def write_report(folder: Path, *, facts: RunFacts, config: RunConfig, progress: Progress) -> Path:
    """Write report.html (self-contained), report.md and the pictures; returns the path of the HTML page."""
    timing = read_timing(folder)
    if progress.history:
        with whole_file(folder / CURVES_FILE) as temporary:
            draw_curves(progress.history).savefig(temporary)
    if progress.best_confusion is not None:
        write_confusion(folder / CONFUSION_FILE, _confusion(progress), facts.class_names, title="Validation clips")
    summary, remarks = _summary(config, progress), _remarks(facts)
    sections = _sections(folder, facts, config, progress, timing)
    write_text(folder / "report.md", _markdown(folder.name, [summary, *remarks], sections))
    content = {
        "name": folder.name,
        "summary": summary,
        "remarks": remarks,
        "figures": _figures(config, progress, timing),
        "sections": sections,
        "pictures": {
            section.picture: data_address((folder / section.picture).read_bytes(), "png")
            for section in sections
            if section.picture
        },
    }
    write_text(folder / REPORT_FILE, render_page("train.run", "report", content))
    return folder / REPORT_FILE


def _confusion(progress: Progress) -> npt.NDArray[np.int64]:
    return np.array(progress.best_confusion, dtype=np.int64)


def _best_row(progress: Progress) -> EpochRow | None:
    """The epoch whose validation was the best; None where nothing was validated."""
    rows = (row for row in progress.history if row.epoch == progress.best_epoch and row.val_top1 is not None)
    return next(rows, None)


def _summary(config: RunConfig, progress: Progress) -> str:
    text = f"Epoch {progress.epoch} of {config.epochs}: {progress.finished or 'not finished'}."
    best = _best_row(progress)
    if not progress.history:
        return text
    if best is None:
        return f"{text} Nothing was set aside for validation: best is the last state."
    share = 100 * (best.val_top1 or 0.0)
    return f"{text} Best validation top-1 {share:.1f} % in epoch {best.epoch} ({counted(best.val_clips, 'clip')})."


def _remarks(facts: RunFacts) -> list[str]:
    remarks = []
    if facts.split == "all":
        remarks.append("Trained on every clip: a sanity check, not a result.")
    if facts.synthetic:
        remarks.append("The data is the embedded synthetic set: these numbers say nothing about HMDB51.")
    return remarks


def _figures(config: RunConfig, progress: Progress, timing: list[Timing]) -> list[tuple[str, str]]:
    """The numbers at the top of the page: value and label."""
    best = _best_row(progress)
    validation = (
        []
        if best is None
        else [
            (f"{100 * (best.val_top1 or 0.0):.1f} %", "validation top-1"),
            (f"{100 * (best.val_mean_class_accuracy or 0.0):.1f} %", "mean class accuracy"),
            (str(best.epoch), "best epoch"),
        ]
    )
    minutes = sum(row.seconds for row in timing) / 60
    return [*validation, (f"{progress.epoch} of {config.epochs}", "epochs"), (f"{minutes:.1f}", "minutes of training")]


def _sections(
    folder: Path, facts: RunFacts, config: RunConfig, progress: Progress, timing: list[Timing]
) -> list[Section]:
    sections = []
    if progress.history:
        sections.append(Section(title="Curves", picture=CURVES_FILE, text=_last_epochs(progress)))
    if progress.best_confusion is not None:
        text = f"Validation clips in epoch {progress.best_epoch}; the test clips play no part."
        sections.append(Section(title="Confusion matrix", picture=CONFUSION_FILE, text=text))
        sections.append(_class_table(_confusion(progress), facts.class_names))
    model = tuple((key, str(value)) for key, value in dataclasses.asdict(facts.model_config).items())
    return [
        *sections,
        Section(title="Data", columns=("what", "value"), rows=_data_rows(facts)),
        Section(title="Configuration", columns=("key", "value"), rows=_configuration_rows(config, facts)),
        Section(title="Model", columns=("key", "value"), rows=model),
        *_tracker_section(folder, config),
        Section(title="Environment", columns=("what", "value"), rows=_environment_rows(timing)),
    ]


def _tracker_section(folder: Path, config: RunConfig) -> list[Section]:
    """How TensorBoard is started on the run; the other trackers have said where they are."""
    if config.tracker != "tensorboard":
        return []
    return [Section(title="TensorBoard", text=f"tensorboard --logdir {shlex.quote(str(folder))}")]


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


def _configuration_rows(config: RunConfig, facts: RunFacts) -> tuple[tuple[str, str], ...]:
    """Every flag with its value; where that leaves the choice to the program, also what was chosen."""
    device, model = choose_device(config.device), facts.model_config
    chosen = {
        **{key: getattr(model, key) for key in ("embed_dim", "depth", "num_heads", "patch_size", "motion_init")},
        "normalisation": f"mean {model.mean}, std {model.std}",
        "plan": facts.plan_sha256 or "none",
        "device": device.type,
        "amp": half_precision(config.amp, device),
    }
    return tuple(
        (key, f"{value} ({chosen[key]})" if key in chosen and value in ("auto", 0) else str(value))
        for key, value in dataclasses.asdict(config).items()
    )


def _data_rows(facts: RunFacts) -> tuple[tuple[str, str], ...]:
    return (
        ("data set id", facts.dataset_id),
        ("split", facts.split),
        ("classes", f"{len(facts.class_names)}: {', '.join(facts.class_names)}"),
        ("stored frames", f"{facts.size.height}x{facts.size.width}, fit {facts.size.fit}"),
        ("segments x frames of a segment", f"{facts.shape.num_segments} x {facts.shape.frames_per_segment}"),
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


def _markdown(name: str, texts: list[str], sections: list[Section]) -> str:
    lines = [f"# Run {name}", "", " ".join(texts), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        lines += [f"![{section.title}]({section.picture})", ""] if section.picture else []
        lines += [*markdown_table(section.columns, section.rows), ""] if section.rows else []
    return "\n".join(lines)
