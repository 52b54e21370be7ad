"""The worker pool: results in order of asking, and jobs that crash, hang or raise."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver
from pathlib import Path

import hanging_parent
import pytest

from shared.errors import DataError
from shared.machine.workers import WorkerDied, WorkerOverran, WorkerPool, _serve


def double(number: int) -> int:
    return 2 * number


def crash(code: int) -> int:
    if code < 0:
        os.kill(os.getpid(), -code)
        time.sleep(10)
    os._exit(code)


def hang(seconds: float) -> str:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)
    return "done"


def refuse(text: str) -> str:
    raise OSError(28, text)


def fail_to_load() -> None:
    raise DataError("unpicklable")


class Unloadable:
    """Cannot be unpickled in the worker, which then dies."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return fail_to_load, ()


def test_crashes_and_hangs_cost_their_own_job_only() -> None:
    with WorkerPool(num_workers=2, timeout_seconds=8.0, preload=[]) as pool:
        good = [pool.submit(double, number) for number in range(20)]
        dead = pool.submit(crash, 3)
        killed = pool.submit(crash, -signal.SIGSEGV)
        hanging = pool.submit(hang, 600.0)
        unloadable = pool.submit(double, Unloadable())
        more = [pool.submit(double, number) for number in range(20, 40)]
        started = time.monotonic()
        assert [pool.wait(ticket) for ticket in good + more] == [2 * number for number in range(40)]
        assert pool.wait(dead) == WorkerDied(exit_code=3)
        assert pool.wait(killed) == WorkerDied(exit_code=-signal.SIGSEGV)
        assert pool.wait(hanging) == WorkerOverran(seconds=8.0)
        assert isinstance(pool.wait(unloadable), WorkerDied)
        assert time.monotonic() - started < 300


def test_the_cause_of_a_death_is_named() -> None:
    causes = [WorkerDied(exit_code=code).cause for code in (-signal.SIGSEGV, -signal.SIGRTMIN - 1, 3, 0)]
    assert causes == ["SIGSEGV", "signal 35", "exit code 3", "exit code 0"]


def test_workers_compute_with_one_thread_and_this_process_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    with WorkerPool(num_workers=1, timeout_seconds=100, preload=[]) as pool:
        assert pool.wait(pool.submit(os.getenv, "OMP_NUM_THREADS")) == "1"
    assert "OMP_NUM_THREADS" not in os.environ


def test_what_a_job_raises_reaches_the_caller() -> None:
    with WorkerPool(num_workers=1, timeout_seconds=10, preload=[]) as pool:
        ticket = pool.submit(refuse, "No space left on device")
        with pytest.raises(OSError, match="No space left"):
            pool.wait(ticket)
        assert pool.wait(pool.submit(double, 4)) == 8


def test_a_time_limit_beyond_what_the_kernel_takes() -> None:
    for seconds in (1e12, float("inf")):
        with WorkerPool(num_workers=1, timeout_seconds=seconds, preload=[]) as pool:
            assert pool.wait(pool.submit(double, 4)) == 8


def test_leaving_ends_the_workers_whatever_they_do() -> None:
    with WorkerPool(num_workers=2, timeout_seconds=100, preload=[]) as pool:
        pool.submit(hang, 60.0)
        pool.wait(pool.submit(double, 1))
        processes = [worker.process for worker in pool._workers]
        started = time.monotonic()
    assert time.monotonic() - started < 10
    assert all(process.exitcode is not None for process in processes)


def test_a_hanging_worker_outlives_a_killed_parent_by_little(tmp_path: Path) -> None:
    note = tmp_path / "worker"
    program = f"from hanging_parent import be_killed_while_a_job_hangs; be_killed_while_a_job_hangs({str(note)!r})"
    parent = subprocess.run([sys.executable, "-c", program], cwd=Path(hanging_parent.__file__).parent, timeout=60)
    assert parent.returncode == -signal.SIGKILL
    worker, deadline = int(note.read_text()), time.monotonic() + 30
    while is_alive(worker):
        assert time.monotonic() < deadline, "the worker hangs on without its parent"
        time.sleep(0.1)


def test_a_worker_whose_parent_was_killed_ends_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent has not read what the worker said last: the worker meets a reset and no end of file."""
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)  # only a main thread may call it
    parents, workers = multiprocessing.Pipe()
    worker = threading.Thread(target=_serve, args=(workers,))  # what it raises fails this test
    worker.start()
    assert parents.poll(30)
    parents.close()
    worker.join(30)
    assert not worker.is_alive()


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_workers_that_cannot_start_are_an_error_and_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.machine.workers._serve", crash_at_once)
    with (
        WorkerPool(num_workers=1, timeout_seconds=5, preload=[]) as pool,
        pytest.raises(DataError, match=r'hmdb-prep doctor`; .* `if __name__ == "__main__":`'),
    ):
        pool.wait(pool.submit(double, 1))


def crash_at_once(connection: object) -> None:
    os._exit(9)


def test_a_long_folder_of_temporary_files_does_not_matter(tmp_path: Path) -> None:
    long = tmp_path / ("l" * 120)
    long.mkdir()
    code = (
        "from shared.machine.workers import WorkerPool\n"
        "with WorkerPool(num_workers=1, timeout_seconds=60, preload=[]) as pool:\n"
        "    print(pool.wait(pool.submit(abs, -3)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(long)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "3\n", done.stderr
    assert not list(long.iterdir())


def test_where_no_folder_is_short_enough_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/" + "l" * 120)
    monkeypatch.setattr("shared.machine.workers._SHORT_FOLDERS", ("/nowhere",))
    with pytest.raises(DataError, match=r"path of 121 bytes, too long.*set TMPDIR to a folder of at most 71"):
        WorkerPool(num_workers=1, timeout_seconds=60, preload=[])
