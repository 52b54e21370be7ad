"""How a program that is missing is installed here, for the remedies of errors."""

import sys


def install(package: str) -> str:
    """The command: of Homebrew on macOS, of Debian and Ubuntu elsewhere. ffmpeg and unar have one name in both."""
    return f"brew install {package}" if sys.platform == "darwin" else f"apt-get install {package}"
