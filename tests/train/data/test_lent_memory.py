"""Memory that a worker lends: never written to while anybody looks at it, and not made anew for each batch."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from train.data.clip_dataset import collate
from train.data.loader import lent_memory as module
from train.data.loader.lent_memory import LentMemory, _Piece, lendable, lent_memory

SHAPE = (2, 3, 5)


@pytest.fixture(params=sorted(torch.multiprocessing.get_all_sharing_strategies()))
def _strategy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each of torch's ways to share memory; macOS has the second one alone."""
    before = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy(request.param)
    yield
    torch.multiprocessing.set_sharing_strategy(before)


def hand_over(batch: torch.Tensor) -> torch.Tensor:
    """The batch as it arrives at another process; here both are one."""
    received: torch.Tensor = pickle.loads(ForkingPickler.dumps(batch))
    return received


@pytest.mark.usefixtures("_strategy")
def test_it_is_used_again_once_both_processes_let_go() -> None:
    memory = LentMemory()
    batch = lendable(memory.take(SHAPE).fill_(7))
    address = batch.data_ptr()
    received = hand_over(batch)
    assert type(received) is torch.Tensor and torch.equal(received, torch.full(SHAPE, 7, dtype=torch.uint8))
    del batch
    other = memory.take(SHAPE).fill_(8)
    part = received[1].numpy()
    del received
    third = memory.take(SHAPE).fill_(9)
    assert len({address, other.data_ptr(), third.data_ptr()}) == 3
    assert (part == 7).all()
    del part
    assert memory.take(SHAPE).data_ptr() == address


def test_what_is_still_used_here_is_not_handed_out() -> None:
    memory = LentMemory()
    batch = lendable(memory.take(SHAPE).fill_(7))
    hand_over(batch)
    assert memory.take(SHAPE).data_ptr() != batch.data_ptr()
    assert (batch == 7).all()


def test_threads_that_take_at_once_get_pieces_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = LentMemory()
    memory.take(SHAPE)

    def look_for_long(piece: _Piece) -> bool:  # so that all threads would find the piece
        found = not piece._is_used_here
        time.sleep(0.05)
        return found

    monkeypatch.setattr(_Piece, "is_unused", property(look_for_long))
    with ThreadPoolExecutor(3) as threads:
        taken = list(threads.map(lambda _: memory.take(SHAPE), range(3)))
    assert len({batch.data_ptr() for batch in taken}) == 3


@pytest.mark.usefixtures("_strategy")
@pytest.mark.parametrize("first", ["part", "whole"])
def test_a_part_and_the_whole_go_to_another_process(first: str) -> None:
    """As of a collate_fn that returns a slow and a fast path: pickling the part moves the storage of both."""
    memory = LentMemory()
    batch = lendable(memory.take(SHAPE).fill_(7))
    sent = [batch[:, ::2], batch]
    received = [hand_over(part) for part in (sent if first == "part" else sent[::-1])]
    del sent
    other = memory.take(SHAPE).fill_(9)
    received += [hand_over(batch)]
    del batch
    third = memory.take(SHAPE).fill_(8)
    assert all((part == 7).all() for part in received)
    assert (other == 9).all() and (third == 8).all()


def test_the_memory_of_a_batch_whose_part_has_gone_may_be_another_ones() -> None:
    memory = LentMemory()
    batch = lendable(memory.take(SHAPE).fill_(7))
    hand_over(batch[:, ::2])
    other = memory.take(SHAPE).fill_(9)
    assert (hand_over(batch) == 7).all()
    assert (other == 9).all()


def test_numbers_of_other_types_and_parts() -> None:
    room = LentMemory().take((4 * 30,)).view(torch.float32).view(SHAPE)
    room.copy_(torch.arange(30.0).view(SHAPE))
    part = lendable(room.transpose(1, 2)[1:])
    assert torch.equal(hand_over(part), torch.arange(15.0, 30.0).view(1, 3, 5).transpose(1, 2))
    assert type(part + 1) is type(part[0]) is torch.Tensor


def test_copies_have_memory_of_their_own() -> None:
    batch = lendable(LentMemory().take(SHAPE).fill_(7))
    first = hand_over(batch)
    for other in (hand_over(batch), pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch), batch.clone()):
        other.fill_(1)
    assert (first == 7).all()
    ordinary = torch.zeros(3)
    assert lendable(ordinary) is ordinary


def test_no_more_is_kept_than_a_loop_needs() -> None:
    memory = LentMemory()
    everything = [memory.take(SHAPE) for _ in range(50)]
    del everything
    memory.take(SHAPE)
    assert len(memory._pieces) == 8
    memory.take((1000,))
    assert [piece.size for piece in memory._pieces] == [1024]


class Forked:
    """A forked process that holds what this one holds, and ends when asked whether a batch is full of a number."""

    def __init__(self, batch: torch.Tensor, number: int) -> None:
        context = multiprocessing.get_context("fork")
        self._asked, asked = context.Pipe()
        self._process = context.Process(
            target=lambda: os._exit(not (asked.recv() and (batch == number).all())), daemon=True
        )
        self._process.start()

    def shows_it(self) -> bool:
        self._asked.send(True)
        self._process.join()
        return self._process.exitcode == 0


@pytest.mark.usefixtures("_strategy")
@pytest.mark.parametrize("here", ["it is lent", "it was received"])
def test_a_forked_process_keeps_what_it_shows(here: str) -> None:
    memory = LentMemory()
    batch = lendable(memory.take(SHAPE).fill_(7))
    if here == "it was received":
        batch = hand_over(batch)
    child = Forked(batch, 7)
    del batch
    others = [memory.take(SHAPE).fill_(9) for _ in range(3)]
    assert child.shows_it()
    assert len({other.data_ptr() for other in others}) == 3


@pytest.mark.usefixtures("_strategy")
def test_a_forked_process_that_lets_go_takes_nothing_from_its_parent() -> None:
    memory = LentMemory()
    batch = [hand_over(lendable(memory.take(SHAPE).fill_(7)))]

    def let_go() -> None:
        batch.clear()
        gc.collect()

    child = multiprocessing.get_context("fork").Process(target=let_go)
    child.start()
    child.join()
    memory.take(SHAPE).fill_(9)
    assert (batch[0] == 7).all()


def test_what_a_forked_process_shows_is_lent_no_more() -> None:
    memory = LentMemory()
    batch = lendable(memory.take(SHAPE).fill_(7))
    child = Forked(batch, 7)
    hand_over(batch).fill_(9)  # a copy, as where another process has it
    assert child.shows_it()


def test_forks_leave_no_memory_behind() -> None:
    """Nor do they cost any that nobody shows."""
    gc.collect()
    memory, before = LentMemory(), (len(module._PIECES), len(module._SHOWN))
    memory.take(SHAPE)
    unused = memory._pieces[0]
    for number in range(10):
        batch = hand_over(lendable(memory.take(SHAPE).fill_(number)))
        assert Forked(batch, number).shows_it()
        del batch
        memory.take(SHAPE)
        assert len(memory._pieces) == 1
    assert not unused.is_unused
    del unused
    assert (len(module._PIECES), len(module._SHOWN)) == (before[0] + 1, before[1])
    address = memory.take(SHAPE).data_ptr()
    assert Forked(torch.zeros(1), 0).shows_it()
    assert memory.take(SHAPE).data_ptr() == address


def test_nothing_arrives_between_the_marks_and_the_fork() -> None:
    sent = ForkingPickler.dumps(lendable(LentMemory().take(SHAPE)))
    thread = threading.Thread(target=pickle.loads, args=(sent,), daemon=True)
    module._before_fork()
    thread.start()
    thread.join(0.2)
    is_waiting = thread.is_alive()
    module._forking.release()
    thread.join(30)
    assert is_waiting and not thread.is_alive()


def can_take_in_a_thread() -> bool:
    thread = threading.Thread(target=LentMemory().take, args=(SHAPE,), daemon=True)
    thread.start()
    thread.join(30)
    return not thread.is_alive()


def test_after_a_fork_nothing_waits_in_either_process() -> None:
    child = multiprocessing.get_context("fork").Process(target=lambda: os._exit(not can_take_in_a_thread()))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert can_take_in_a_thread()


class Numbers(Dataset[tuple[torch.Tensor, int]]):
    """Item i is float32 (2, 3) full of i, as a transform makes it, and in which process."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((2, 3), float(index)), len(lent_memory()._pieces)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_worker_makes_few_pieces_and_writes_into_none_that_is_kept(method: str) -> None:
    loader = DataLoader(Numbers(), batch_size=2, num_workers=1, multiprocessing_context=method, collate_fn=collate)
    most = 0
    for place, (numbers, num_pieces) in enumerate(loader):
        assert numbers[:, 0, 0].tolist() == [2 * place, 2 * place + 1]
        most = max(most, int(num_pieces.max()))
    assert 2 <= most <= 4  # two ahead, one here, one in the making
    kept = [numbers for numbers, _ in loader]
    assert torch.cat(kept)[:, 1, 2].tolist() == list(range(40))
    gc.collect()


@pytest.mark.parametrize("persistent", [True, False])
def test_forked_processes_keep_a_workers_batches(persistent: bool) -> None:
    """As of a loop that writes pictures beside itself, while workers go on or are forked anew."""
    loader = DataLoader(
        Numbers(),
        batch_size=4,
        num_workers=1,
        multiprocessing_context="fork",
        persistent_workers=persistent,
        collate_fn=lambda items: collate([(numbers[:1].expand(4, 3) // 4, 0) for numbers, _ in items]),
    )
    children = []
    for epoch in range(2):
        for place, (numbers, _) in enumerate(loader):
            assert (numbers == place).all()
            if epoch == 0 and place % 4 == 0:
                children.append(Forked(numbers, place))
    assert all(child.shows_it() for child in children)
