"""Whether Python finds this project's packages by their plain names, or files of the user's that hide them.

The programs begin with it, before Ctrl-C is one line: it imports nothing that takes time, not even pathlib.
"""

from __future__ import annotations

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # all packages of the project lie side by side


def check_names(*packages: str) -> None:
    """Raise SystemExit, with one sentence, where another file stands in the place of one of these packages.

    Not an ImportError: a program whose script is itself the file in the way would end in a traceback through itself.
    """
    for name in packages:
        found = _file_of(name)
        if found is not None and found != os.path.join(_ROOT, name, "__init__.py"):
            shown = os.path.dirname(found) if os.path.basename(found) == "__init__.py" else found
            raise SystemExit(
                f"error: Python takes {shown} for the package `{name}` of hmdb51-lsvit; rename it, or keep its folder "
                "off Python's path (start with `python -P` or the command itself, and look at PYTHONPATH)"
            )


def _file_of(package: str) -> str | None:
    """The file that ``import package`` runs or has run; None where there is none."""
    if package in sys.modules:
        file = getattr(sys.modules[package], "__file__", None)
    else:
        specs = (finder.find_spec(package, None) for finder in sys.meta_path)
        file = next((spec.origin for spec in specs if spec is not None), None)
    return None if file is None else os.path.realpath(file)
