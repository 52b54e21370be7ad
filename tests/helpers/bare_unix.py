"""Starts ``hmdb-prep`` or ``lsvit-train`` as on a Unix that has nothing of Linux alone; it is run by its own path.

Worker processes import this file again, as they do with any program, and so lack the same.
"""

import os
import resource
import signal
import sys

LINUX_ALONE = (
    (os, "sched_getaffinity sched_setaffinity posix_fallocate posix_fadvise pidfd_open memfd_create eventfd splice"),
    (os, "copy_file_range sendfile process_cpu_count O_DIRECT O_TMPFILE"),
    (resource, "prlimit"),
    (signal, "pidfd_send_signal"),
)
for module, names in LINUX_ALONE:
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)


def main() -> None:
    from shared.machine import workers

    workers.START_METHOD = "spawn"  # as on macOS
    program = sys.argv.pop(1)
    if program == "hmdb-prep":
        from preprocess.__main__ import main as start
    else:
        from train.__main__ import main as start
    start()


if __name__ == "__main__":
    main()
