"""Memory for the batches of a DataLoader's workers, used again once the process that got a batch lets go of it.

torch hands a tensor to another process in memory that both share, and makes it anew for each batch: page by page that
costs several times the copy into it. Here a byte behind each piece says whether the other process still looks at it.

A process that is forked goes on to show what its parent shows, and neither learns when the other lets go. So a second
byte is set behind all that a process shows when it forks, for ever: such a piece is left to the two and not used again.
"""

from __future__ import annotations

import copy
import math
import os
import threading
import weakref
from collections.abc import Callable
from functools import cache
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.multiprocessing.reductions import reduce_tensor

from train.data.loader.memory import MOST_KEPT

_UNIT = 64  # sizes are multiples of it, so that numbers of any type fit
_LENT, _FORKED = 0, 1  # the bytes behind a piece: another process has it; a process was forked that showed it
_NUM_MARKS = 2


class LentMemory:
    """Hands out memory, and again what nobody uses any more: neither this process nor one that a batch went to.

    Safe from several threads.
    """

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A tensor uint8 of this shape, its values left as they happen to be."""
        needed = math.prod(shape)
        with self._lock:  # else two threads find the same piece unused
            return self._piece_for(needed).take()[:needed].view(shape)

    def _piece_for(self, needed: int) -> _Piece:
        """A piece of at least so many bytes that nobody uses; of others that nobody uses few are kept.

        Those that processes share by a fork are forgotten: the system frees them when the last one lets go.
        """
        unused = [piece for piece in self._pieces if piece.is_unused]
        fitting = sorted((piece for piece in unused if piece.size >= needed), key=lambda piece: piece.size)
        used = [piece for piece in self._pieces if piece not in unused and not piece.is_forked]
        kept = used + fitting[:MOST_KEPT]
        if not fitting:
            fitting = [_Piece(needed)]
            kept += fitting
        self._pieces = kept
        return fitting[0]


@cache
def _memory_of(_process: int) -> LentMemory:
    return LentMemory()


def lent_memory() -> LentMemory:
    """The memory of this process: a forked one does not hand out what its parent has."""
    return _memory_of(os.getpid())


def lendable(batch: torch.Tensor) -> torch.Tensor:
    """The same tensor; where it lies in memory to lend, another process gets it without a copy.

    What is computed from it is an ordinary tensor.
    """
    piece = _PIECES.get(_address_of(batch))
    if piece is None:
        return batch
    lent = batch.as_subclass(_Lent)
    lent.piece = piece
    return lent


def _address_of(batch: torch.Tensor) -> int:
    return batch.untyped_storage().data_ptr()


class _Piece:
    """Memory that processes share, and behind it the marks that they set."""

    def __init__(self, needed: int) -> None:
        self.size = -(-needed // _UNIT) * _UNIT
        self.shared: torch.Tensor = torch.zeros(self.size + _NUM_MARKS, dtype=torch.uint8)
        self.shared.share_memory_()  # type: ignore[no-untyped-call]
        self._marks = _marks_of(self.shared)
        self._is_used_here = False
        _PIECES[self.shared.data_ptr()] = self

    @property
    def is_lent(self) -> bool:
        return bool(self._marks[_LENT])

    @property
    def is_forked(self) -> bool:
        return bool(self._marks[_FORKED])

    @property
    def is_unused(self) -> bool:  # asked in this order: who forks sets the one mark before it takes away the other
        return not (self._is_used_here or self.is_lent or self.is_forked)

    def take(self) -> torch.Tensor:
        """All of it, uint8 (size,)."""
        self._is_used_here = True
        return _watched(self.shared, self._let_go)

    def lend(self) -> torch.Tensor:
        """All of it with its marks, for the process that gets it."""
        self._marks[_LENT] = 1
        return self.shared

    def _let_go(self) -> None:
        self._is_used_here = False


_PIECES: weakref.WeakValueDictionary[int, _Piece] = weakref.WeakValueDictionary()  # by their addresses


class _Lent(torch.Tensor):
    """A batch that pickling for another process lends; ``piece`` is its memory."""

    piece: _Piece
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.deepcopy(self.as_subclass(torch.Tensor), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:  # into a file, as any tensor
        return self.as_subclass(torch.Tensor).__reduce_ex__(protocol)  # type: ignore[no-untyped-call]


def _lend(batch: _Lent) -> Any:
    """How a batch is pickled for another process.

    One that it went to may have the piece already: then this one gets a copy, as where a forked one has it. And a part
    of the batch may have gone before: torch has moved both to other memory then, and the piece is another batch's.
    """
    if batch.piece.is_lent or batch.piece.is_forked or _address_of(batch) != batch.piece.shared.data_ptr():
        return reduce_tensor(batch.as_subclass(torch.Tensor))  # type: ignore[no-untyped-call]
    return _receive, (batch.piece.lend(), batch.dtype, batch.shape, batch.stride(), batch.storage_offset())


def _receive(
    shared: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> torch.Tensor:
    """The batch in the process that it goes to, which gives it back when nothing shows its memory any more."""
    marks = _marks_of(shared)

    def give_back() -> None:
        marks[_LENT] = 0

    return _watched(shared, give_back).view(dtype).as_strided(shape, stride, offset)


def _marks_of(shared: torch.Tensor) -> npt.NDArray[np.uint8]:
    """The bytes behind a piece; numpy's, since torch is not to be called while a process forks."""
    marks: npt.NDArray[np.uint8] = shared.numpy()[-_NUM_MARKS:]
    return marks


def _watched(shared: torch.Tensor, on_end: Callable[[], object]) -> torch.Tensor:
    """The memory of a piece without its marks; ``on_end`` is called when no tensor or array shows it any more."""
    handed = shared.numpy()[:-_NUM_MARKS]
    # torch keeps `handed` alive for as long as it is shown.
    weakref.finalize(handed, _end, id(handed), on_end).atexit = False
    with _forking:
        _SHOWN[id(handed)] = _marks_of(shared)
    return torch.from_numpy(handed)


def _end(shown: int, on_end: Callable[[], object]) -> None:
    _SHOWN.pop(shown, None)
    on_end()


_SHOWN: dict[int, npt.NDArray[np.uint8]] = {}  # the marks of each piece that this process shows
_forking = threading.RLock()  # held while a process forks, so that its child shows nothing without a mark


def _before_fork() -> None:
    _forking.acquire()
    for marks in list(_SHOWN.values()):  # a copy: other threads may let go meanwhile
        marks[_FORKED] = 1


def _after_fork_in_child() -> None:
    global _forking
    _forking = threading.RLock()  # threads that waited for the other one are not here


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(
        before=_before_fork, after_in_parent=lambda: _forking.release(), after_in_child=_after_fork_in_child
    )
ForkingPickler.register(_Lent, _lend)
