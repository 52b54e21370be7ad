"""The rows of the study on real video: ways of learning, and what is changed one at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of learning."""

    name: str
    words: tuple[str, ...] = ()
    """Options beside those that all rows of the command have."""
    is_frozen: bool = False
    """Whether the ViT stays as it is, so that there must be weights."""
    command: str = "run"
    design: str = ""
    """A design of benchmarks/motion_designs.py, empty for the model's own."""
    needs_plan: bool = False
    """Whether each fold's own SMOTE plan is made before."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row with a start: a line of the table."""

    row: Row
    start: str
    """`scratch`, or the file of weights."""
    label: str
    """What the table and the names of the runs call the start."""


PLAIN = ("--smif", "none", "--lmi", "none")
CLASSIC = ("--smif", "classic", "--lmi", "classic")
MIDDLE = ("--sampling", "middle")  # the frames that K = 1 stores
ROWS = (
    Row(name="plain", words=PLAIN),
    Row(name="plain-k1", words=(*PLAIN, *MIDDLE)),
    Row(name="smif", words=("--lmi", "none")),
    Row(name="smif-k1", words=("--lmi", "none", *MIDDLE)),
    Row(name="lmi", words=("--smif", "none")),
    Row(name="lmi-k1", words=("--smif", "none", *MIDDLE)),
    Row(name="directional"),
    Row(name="directional-k1", words=MIDDLE),
    Row(name="classic", words=CLASSIC),
    Row(name="classic-k1", words=(*CLASSIC, *MIDDLE)),
    Row(name="motion", words=("--train", "motion"), is_frozen=True),
    Row(name="head", words=("--train", "head", *PLAIN), is_frozen=True),
    Row(name="probe-mean", words=("--head", "mean"), is_frozen=True, command="probe"),
    Row(name="probe-attention", words=("--head", "attention"), is_frozen=True, command="probe"),
    Row(name="probe-directional", words=("--head", "directional"), is_frozen=True, command="probe"),
)
# Directional with one thing changed. The study's own choices: TSN, DropPath 0.1, smoothing 0.1, cross-entropy, frames'
# mean over time, patches' mean over space, normalisation by a half, crops of 0.4 to 1, no mixing, no plan.
ABLATIONS = (
    Row(name="lmi-first", design="lmi-first"),
    Row(name="lmi-middle", design="lmi-middle"),
    Row(name="lmi-last", design="lmi-last"),
    Row(name="lmi-first-two", design="lmi-first-two"),
    Row(name="lmi-narrow", design="narrow-lmi"),
    Row(name="lmi-dropout", design="dropped-lmi"),
    Row(name="no-smif-start", design="no-smif-start"),
    Row(name="double-smif-start", design="double-smif-start"),
    Row(name="fourfold-smif-start", design="fourfold-smif-start"),
    Row(name="zero-head", design="zero-head"),
    Row(name="active-start", words=("--motion-init", "active")),
    Row(name="identity-start", words=("--motion-init", "identity")),
    Row(name="drop-path-0", words=("--drop-path", "0")),
    Row(name="drop-path-0.3", words=("--drop-path", "0.3")),
    Row(name="smoothing-0", words=("--smoothing", "0")),
    Row(name="mixup", words=("--mixup", "0.8")),
    Row(name="cutmix", words=("--cutmix", "1.0")),
    Row(name="plan-smote", words=("--plan", "auto"), needs_plan=True),
    Row(name="class-balanced", words=("--loss", "class-balanced")),
    Row(name="focal", words=("--loss", "focal")),
    Row(name="normalisation-dataset", words=("--normalisation", "dataset")),
    Row(name="temporal-attention", words=("--temporal-pool", "attention")),
    Row(name="temporal-directional", words=("--temporal-pool", "directional")),
    Row(name="spatial-cls", words=("--spatial-pool", "cls")),
    Row(name="spatial-heatmap", words=("--spatial-pool", "heatmap")),
    Row(name="augmentation-0", words=("--aug-strength", "0")),
    Row(name="augmentation-2", words=("--aug-strength", "2")),
    Row(name="weight-decay-0.3", words=("--weight-decay", "0.3")),
)
ROAD = ("directional", "motion", "head", "probe-mean", "probe-attention", "probe-directional")
