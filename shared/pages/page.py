"""HTML pages that open from disk: one file each, nothing is loaded, and no name in the data can run as a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources

import jinja2


def render_page(
    package: str,
    name: str,
    content: Mapping[str, object],
    *,
    has_tables: bool = False,
    parts: Sequence[tuple[str, str]] = (),
) -> str:
    """The page of ``templates/<name>.html.j2`` in a package, with the style and the script of the same name in it.

    It extends ``page.html.j2`` of this package, whose style it shares. Every text in ``content`` is escaped; a content
    security policy allows the page's own script by its hash, pictures in the page, and nothing else.
    has_tables: it uses ``tables.html.j2``, and gets the style and the script by which tables sort and filter.
    parts: other templates that it uses, as (package, name), whose style and script come before its own.
    """
    used = [*((("shared.pages", "tables"),) if has_tables else ()), *parts, (package, name)]
    loaders = [
        jinja2.PackageLoader(each, "templates") for each in dict.fromkeys([package, "shared.pages", *dict(parts)])
    ]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders), autoescape=True, undefined=jinja2.StrictUndefined
    )
    script = "".join(_text(of, f"{part}.js") for of, part in used)
    page = {
        "style": "".join(_text(of, f"{part}.css") for of, part in (("shared.pages", "page"), *used)),
        "script": script,
        "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    }
    return environment.get_template(f"{name}.html.j2").render({**content, **page})


def data_address(content: bytes, kind: str) -> str:
    """A picture as an address that holds the picture itself. kind: ``png``, ``jpeg``, ``webp`` or ``svg+xml``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _text(package: str, name: str) -> str:
    """A file among a package's templates, empty where there is none: not every page has a script."""
    file = resources.files(package).joinpath("templates", name)
    return file.read_text(encoding="utf-8") if file.is_file() else ""
