"""Rows of manifests, made without videos."""

from __future__ import annotations

import dataclasses

from shared.manifests.files import ClipRow


def clip_row(stem: str = "a_walk_f_cm_np1_le_goo_3", *, class_name: str = "walk", tagged: bool = True) -> ClipRow:
    """A row whose numbers are all 7 or 0.1 + 0.2, and whose CRC-32 is the largest."""
    values: dict[str, object] = {}
    for field in dataclasses.fields(ClipRow):
        values[field.name] = {"str": "x", "int": 7, "float": 0.1 + 0.2}[str(field.type)]
    values |= {"clip_id": f"{class_name}/{stem}", "class_name": class_name, "crc32": 4_294_967_295}
    values |= {"num_people": "1" if tagged else "", "body": "f" if tagged else ""}
    return ClipRow(**values)  # type: ignore[arg-type]
