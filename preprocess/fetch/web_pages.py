"""Tells a web page from a file: servers answer with a page where they want a login, a consent or a click."""

from __future__ import annotations

import html
import re

HEAD_BYTES = 4096

_BEFORE_MARKUP = re.compile(rb"\s+|<!--.*?-->|<\?xml.*?\?>", re.DOTALL | re.IGNORECASE)
_MARKUP = re.compile(rb"<(!doctype\s+html|html|head|body|title|meta|script)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)
_MAX_TITLE = 80


def is_web_page(head: bytes) -> bool:
    """Whether the first bytes of a file are those of HTML, as far as these HEAD_BYTES tell."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    while match := _BEFORE_MARKUP.match(head):
        head = head[match.end() :]
    return _MARKUP.match(head) is not None


def page_name(head: bytes) -> str:
    """``a web page``, with its title where the first bytes hold one."""
    match = _TITLE.search(head.decode(errors="replace"))
    title = " ".join(html.unescape(match[1]).split())[:_MAX_TITLE] if match else ""
    printable = "".join(character for character in title if character.isprintable())
    return f'a web page ("{printable}")' if printable else "a web page"
