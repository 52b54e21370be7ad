"""How what is missing here is installed, for the remedies of errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from shared.errors import UsageError

PACKAGE = "hmdb51-lsvit"  # as pip knows this project


def install(package: str) -> str:
    """The command: of Homebrew on macOS, of Debian and Ubuntu elsewhere. ffmpeg and unar have one name in both."""
    return f"brew install {package}" if sys.platform == "darwin" else f"apt-get install {package}"


def install_extra(extra: str) -> str:
    """What to do where an extra of this project is missing: half a sentence."""
    return f"install the extra: pip install '{PACKAGE}[{extra}]' (in a checkout: pip install -e '.[{extra}]')"


def check_extra(extra: str, modules: Sequence[str], *, what: str, otherwise: str = "") -> None:
    """Raise UsageError where one of an extra's modules cannot be imported.

    what: what needs them. otherwise: how one may do without, after a comma.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(f"{what} needs {', '.join(missing)}; {install_extra(extra)}{otherwise}")
