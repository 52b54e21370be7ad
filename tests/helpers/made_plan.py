"""Balancing plans for the made data set, written as ``hmdb-prep balance`` writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from made_dataset import CLASSES, DATASET_ID

from shared.manifests.balancing_plans import PlanInfo, PlanRow, RowKind, imbalance_ratio, write_plan


def plan_row(kind: RowKind, clip_id: str, neighbor_id: str = "", *, lam: float = 0.0) -> PlanRow:
    """A row of the clip's own class."""
    class_name = clip_id.partition("/")[0]
    label = CLASSES.index(class_name)
    return PlanRow(
        kind=kind, class_name=class_name, label=label, clip_id=clip_id, neighbor_id=neighbor_id, lam=float(lam)
    )


def write_made_plan(path: Path, rows: Sequence[PlanRow], *, dataset_id: str = DATASET_ID, split: str = "1") -> Path:
    """Write the plan and the JSON that fits it; returns ``path``."""
    clips = {row.clip_id: row.class_name for row in rows if row.kind != "synthetic"}
    before, after = Counter(clips.values()), Counter(row.class_name for row in rows if row.kind != "dropped")
    info = PlanInfo(
        dataset_id=dataset_id,
        split=split,
        strategy="smote",
        target="median",
        target_count=max(after.values(), default=0),
        k=5,
        seed=0,
        features="",
        features_sha256="",
        library_versions={},
        counts_before=dict(before),
        counts_after=dict(after),
        imbalance_ratio_before=imbalance_ratio(before),
        imbalance_ratio_after=imbalance_ratio(after),
        notes=(),
    )
    write_plan(path, rows, info)
    return path


def write_whole_plan(path: Path) -> Path:
    """Every training clip once, and two synthetic ones."""
    real = [plan_row("real", f"{name}/clip{clip:02d}") for name in CLASSES for clip in range(6)]
    synthetic = [
        plan_row("synthetic", "walk/clip00", "walk/clip02", lam=0.4),
        plan_row("synthetic", "run/clip01", "run/clip04", lam=0.7),
    ]
    return write_made_plan(path, [*real, *synthetic])
