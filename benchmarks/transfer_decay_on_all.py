"""`lsvit-train` as it was: the layer decay holds for new parameters too. For `benchmarks.transfer` alone."""

from __future__ import annotations

from typing import Any

import torch

from train.cli import main
from train.learn import optimizer
from train.run import learner


def make_optimizer(*model: Any, new_parameters: object = (), **options: Any) -> torch.optim.AdamW:
    """The optimiser without a word about what is new."""
    return optimizer.make_optimizer(*model, **options)


if __name__ == "__main__":
    learner.make_optimizer = make_optimizer
    main()
