"""A stand-in for the whole of HMDB51: 6766 videos under the official names, through extract, verify and eda.

    python -m benchmarks.whole_hmdb51 --originals FOLDER_OF_VIDEOS --workplace FOLDER

The content comes from the videos given (hard links where the file system has them): names, classes and splits are those
of HMDB51 while its pictures are not. Prints seconds, peak memory of the largest process and bytes of each command.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from shared.splits.parts import official_splits
from shared.video.listing import VIDEO_SUFFIXES


def lay_out(originals: list[Path], videos: Path) -> None:
    """Give each official clip_id one of the originals in turn."""
    for clip_id, original in zip(official_splits(), itertools.cycle(originals), strict=False):
        target = videos / f"{clip_id}.avi"
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            continue
        try:
            os.link(original, target)
        except OSError:
            shutil.copy(original, target)


def timed(command: list[str]) -> str:
    """Run a command; returns its time and the peak memory of the largest process so far."""
    started = time.monotonic()
    subprocess.run([str(Path(sys.executable).parent / command[0]), *command[1:]], check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return f"{time.monotonic() - started:.1f} s, largest process {peak:.0f} MiB"


def main() -> None:
    """Lay the videos out and time the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--originals", type=Path, required=True)
    parser.add_argument("--workplace", type=Path, required=True)
    arguments = parser.parse_args()
    originals = sorted(file for file in arguments.originals.rglob("*") if file.suffix in VIDEO_SUFFIXES)
    videos, shards, manifests = (arguments.workplace / name for name in ("videos", "shards", "manifests"))
    lay_out(originals, videos)
    places = ["--shards", str(shards), "--manifests", str(manifests)]
    print("extract:", timed(["hmdb-prep", "extract", "--videos", str(videos), *places]), flush=True)
    print("extract again:", timed(["hmdb-prep", "extract", "--videos", str(videos), *places]), flush=True)
    print("verify:", timed(["hmdb-prep", "verify", *places]), flush=True)
    print("eda:", timed(["hmdb-prep", "eda", *places]), flush=True)
    print("balance:", timed(["hmdb-prep", "balance", "--split", "full", *places]), flush=True)
    for folder in (videos, shards, manifests):
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{folder.name}: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
