"""Which columns of the manifests are read: those of every clip that is shown, and those that each program adds.

With 650,000 clips the start of a process is mostly the reading of manifests, and most columns are for `eda`.
"""

from __future__ import annotations

from shared.splits.parts import split_column

CLIP_COLUMNS = (
    *("clip_id", "class_name", "label", "source", "shard", "row"),
    *("brightness", "contrast", "blur", "colorfulness"),  # by which adaptive augmentation chooses
)
"""What ``make_table`` asks for."""


def columns_of_split(split: str) -> tuple[str, ...]:
    """CLIP_COLUMNS and the split's own column; ``all`` has none."""
    return CLIP_COLUMNS if split == "all" else (*CLIP_COLUMNS, split_column(split))


def training_columns(split: str) -> tuple[str, ...]:
    """What a run on the split reads, `probe` among them."""
    return (*columns_of_split(split), "duration_seconds")
