"""Every frame of a folder of numbered pictures, as ``shared/video/streams.py`` gives those of a file.

Pictures are read by Pillow, so a PNG gives the very pixels that were written, and a JPEG those that Python's other
programs see. They become RGB of 8 bits: grey is repeated, the alpha channel is left out, of 16 bits the upper 8 are
kept, CMYK is converted; the turn that a camera notes in EXIF is applied; colour profiles are not looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from shared.errors import first_line
from shared.terminal.console import counted
from shared.video.frame_names import frame_order, is_frame
from shared.video.streams import EVERY_FRAME, Choice, VideoError, VideoFrame, VideoHeader

CODEC = "frames"
_NO_TIME = -1e12  # seconds; as FFmpeg marks it, far below any real one
# By content, whatever the suffix says. Named, because Pillow would start other programs for some of its formats.
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
# What Pillow raises for damaged files, whose names are not those of one family.
_DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError,
    EOFError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


class OpenFrameFolder:
    """A frame folder opened for one reading; it offers what ``OpenVideo`` does."""

    def __init__(self, folder: Path, *, fps: float = 0.0) -> None:
        """fps: frames a second, which pictures do not say; 0 where it is not known.

        Raises VideoError where the folder cannot be listed, holds no numbered picture, or their order is not clear.
        """
        try:
            names = [entry.name for entry in folder.iterdir() if is_frame(entry.name)]
            self._order = frame_order(names)
        except (OSError, ValueError) as error:
            raise VideoError("open", str(error).replace(str(folder), folder.name)) from error
        if not names:
            raise VideoError("open", "the folder holds no numbered pictures such as 0001.jpg")
        self._folder = folder
        self._sizes: dict[tuple[int, int], int] = {}
        self._first_error = ""
        self.decode_errors = 0
        width, height = self._size_of_first()
        self.header = VideoHeader(
            codec=CODEC, fps=fps, width=width, height=height, num_frames=len(names), sample_aspect_ratio=1.0
        )

    @property
    def likely_counts(self) -> tuple[int, ...]:
        """Numbers of frames, one of which is nearly always right: as many as there are pictures, or one less."""
        return tuple(count for count in (self.header.num_frames - 1, self.header.num_frames) if count > 0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the pictures read so far, a sentence each."""
        notes = []
        if self._order.num_missing:
            notes.append(
                f"{counted(self._order.num_missing, 'number')} missing between its pictures {self._order.names[0]} and "
                f"{self._order.names[-1]}, {self._order.first_missing} first; the others follow each other"
            )
        if len(self._sizes) > 1:
            sizes = ", ".join(
                f"{count} of {width}x{height}" for (height, width), count in list(self._sizes.items())[:3]
            )
            notes.append(f"its pictures are of {len(self._sizes)} sizes ({sizes} pixels); each is fitted by itself")
        if self.decode_errors:
            notes.append(f"{counted(self.decode_errors, 'picture')} could not be read, {self._first_error} first")
        return tuple(notes)

    def read_frames(self, wanted: Container[int] = EVERY_FRAME) -> Iterator[VideoFrame]:
        """Yield every frame that can be read, in order, with the pictures of those whose number is wanted.

        Every picture is decoded, wanted or not, so that their number is that of frames which really decode.
        """
        yield from self.choose_frames(lambda number, seconds: number in wanted)

    def choose_frames(self, choose: Choice) -> Iterator[VideoFrame]:
        """The same with the pictures that ``choose`` takes. It is asked of every frame once, before it is yielded."""
        number = 0
        for name in self._order.names:
            try:
                picture = read_picture(self._folder / name)
            except _DAMAGED as error:
                self.decode_errors += 1
                self._first_error = self._first_error or f"{name}: {_reason(error, self._folder)}"
                continue
            size = picture.shape[0], picture.shape[1]
            self._sizes[size] = self._sizes.get(size, 0) + 1
            yield VideoFrame(
                picture=torch.from_numpy(picture) if choose(number, _NO_TIME) else None,
                seconds=_NO_TIME,
                duration_seconds=0.0,
            )
            number += 1
        if number == 0:
            raise VideoError(
                "decode", f"none of its {len(self._order.names)} pictures can be read: {self._first_error}"
            )

    def _size_of_first(self) -> tuple[int, int]:
        """(width, height) in the header of the first picture that has one; (0, 0) where none does."""
        for name in self._order.names:
            try:
                with Image.open(self._folder / name, formats=_FORMATS) as picture:
                    return picture.size
            except _DAMAGED:
                continue
        return 0, 0


def read_picture(file: Path) -> npt.NDArray[np.uint8]:
    """The pixels of a picture file, uint8 (H, W, 3) RGB. Raises what Pillow does where it is damaged or no picture."""
    with Image.open(file, formats=_FORMATS) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I"):  # 16 bits of grey, which older versions of Pillow hold in 32
            grey = np.clip(np.asarray(upright).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if upright.mode == "F":
            raise ValueError("its pixels are floating-point numbers, whose range is not known")
        return np.array(upright.convert("RGB"))


def _reason(error: BaseException, folder: Path) -> str:
    """What Pillow says, in one line, without the folder: a manifest says the same wherever its videos lie."""
    return first_line(str(error).replace(f"{folder}/", "") or error)
