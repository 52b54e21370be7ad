"""What a data set of 650,000 clips costs where no video is read: splits, manifests, eda and its page.

    python -m benchmarks.many_rows [--rows 1000 10000 100000 650000] [--classes 700] [--parts splits manifests eda]
        [--data FOLDER] [--json FILE]

Each step is a process of its own, measured once. Splits: every video a source of its own. eda: made manifests and
shards with small pictures, one clip in a hundred like another; it looks for near duplicates among all of them, and its
page is opened in a browser where there is one. --data: where made tables stay for another call.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from benchmarks.made_tables import make_tables
from benchmarks.scaling import Cost, add_growth, measure_command
from benchmarks.timing import benchmark_options, start, workplace

PARTS = ("splits", "manifests", "eda")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def measure_step(call: str) -> Cost:
    """Run a call of ``benchmarks/row_steps.py`` in a process of its own."""
    return measure_command(Path(sys.executable).name, ["-c", f"from benchmarks.row_steps import *; {call}"])


def opening_seconds(page: Path) -> float | str:
    """How long a browser takes from nothing to the page with its tables; empty where there is none."""
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if program is None:
        return ""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        started = time.perf_counter()
        browser.new_page().goto(page.as_uri(), wait_until="load", timeout=120_000)
        seconds = time.perf_counter() - started
        browser.close()
    return seconds


def main() -> None:
    parser = benchmark_options(__doc__, rounds=None)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000, 650_000])
    parser.add_argument("--classes", type=int, default=700)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--data", type=Path, help="folder of made tables, kept; by default made and removed")
    options = parser.parse_args()
    results = start("many_rows", options)
    if options.quick:
        options.rows, options.classes = [120, 240], 60
    costs: dict[str, dict[int, Cost]] = {part: {} for part in options.parts}
    pages: dict[str, dict[str, float | str]] = {}
    with workplace(options) as place:
        for count in options.rows:
            if "splits" in costs:
                costs["splits"][count] = measure_step(f"split_videos({count}, {options.classes})")
            if not {"manifests", "eda"} & set(costs):
                continue
            folder = (options.data or place) / str(count)
            if not folder.is_dir():
                make_tables(folder, num_rows=count, num_classes=options.classes)
            if "manifests" in costs:
                costs["manifests"][count] = measure_step(f"read_tables({str(folder / 'manifests')!r})")
            if "eda" in costs:
                page = place / "eda.html"
                places = ["--manifests", str(folder / "manifests"), "--shards", str(folder / "shards")]
                costs["eda"][count] = measure_command("hmdb-prep", ["eda", *places, "--out", str(page)])
                pages[f"{count} rows"] = {"MB": page.stat().st_size / 1e6, "opens in s": opening_seconds(page)}
            if options.data is None:
                shutil.rmtree(folder)
    for title, measured in costs.items():
        add_growth(results, title, measured, unit="rows")
    if pages:
        results.add_figures("page of eda", pages)
    results.save(options.json)


if __name__ == "__main__":
    main()
