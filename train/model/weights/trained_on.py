"""Which clips weights have been trained on: what checkpoints hand down from run to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """The clips that weights were trained on, those of the weights they began with among them."""

    clips: Mapping[str, str] = field(default_factory=dict)
    """By dataset_id: clip_ids, sorted, a line each. One text takes a fraction of the room and time of a list."""
    is_known: bool = True
    """False where a checkpoint of an earlier version, which did not note this, is among what they began with."""

    def of(self, dataset_id: str) -> frozenset[str]:
        """The clip_ids of a data set."""
        return frozenset(self.clips.get(dataset_id, "").splitlines())

    def also(self, dataset_id: str, clip_ids: Iterable[str]) -> TrainedOn:
        """The same with more clips of a data set."""
        together = "\n".join(sorted(self.of(dataset_id).union(clip_ids)))
        return TrainedOn(clips={**self.clips, dataset_id: together}, is_known=self.is_known)


UNKNOWN = TrainedOn(is_known=False)
