"""Whether Python finds this project's packages by their plain names, or files of the user's that hide them."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]  # where all packages of the project lie side by side


def check_names(*packages: str) -> None:
    """Raise SystemExit, with one sentence, where another file stands in the place of one of these packages.

    Not an ImportError: a program whose script is itself the file in the way would end in a traceback through itself.
    """
    for name in packages:
        found = _file_of(name)
        if found is not None and found != _ROOT / name / "__init__.py":
            shown = found.parent if found.name == "__init__.py" else found
            raise SystemExit(
                f"error: Python takes {shown} for the package `{name}` of hmdb51-lsvit; rename it, or keep its folder "
                "off Python's path (start with `python -P` or the command itself, and look at PYTHONPATH)"
            )


def _file_of(package: str) -> Path | None:
    """The file that ``import package`` runs or has run; None where there is none."""
    if package in sys.modules:
        file = getattr(sys.modules[package], "__file__", None)
    else:
        spec = find_spec(package)
        file = spec.origin if spec is not None else None
    return None if file is None else Path(file).resolve()
