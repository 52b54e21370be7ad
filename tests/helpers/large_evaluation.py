"""Writes the evaluation of many classes with 2 GB of memory: `python large_evaluation.py FOLDER CLASSES CLIPS`."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from made_results import made_evaluation, made_pictures, made_result

from train.evaluate.output import write_pictures, write_texts

LIMIT = 2 * 1024**3


def main() -> None:
    """Write all files of one split."""
    folder, num_classes, num_clips = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    names = tuple(f"class {number} with a name that is long enough to be cut" for number in range(num_classes))
    result = made_result(num_clips=num_clips, class_names=names)
    evaluation = made_evaluation(folder, result)
    write_texts(evaluation, split_folders=[folder])
    write_pictures(evaluation, split_folders=[folder], pictures=[made_pictures(result, count=50)])
    sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024) + "\n")


if __name__ == "__main__":
    main()
