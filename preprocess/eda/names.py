"""What columns of the manifests are called on the page and in the terminal."""

from __future__ import annotations

_NAMES = {"blur": "sharpness", "colorfulness": "colourfulness"}
EXPLANATION = (
    "sharpness is the column `blur` of the manifests, the variance of the Laplacian of the luma: higher is sharper"
)


def shown_name(column: str) -> str:
    """The name of a measure in sentences and plots; of others the column itself."""
    return _NAMES.get(column, column)


def head_name(column: str) -> str:
    """The name above a table's column, which also names the column of the manifests where that is another one."""
    return f"sharpness ({column})" if column == "blur" else column
