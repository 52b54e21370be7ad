"""The names of pictures in a frame folder: which count, in which order, and what is missing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.video.frame_names import frame_order, is_frame


@pytest.mark.parametrize("name", ["0001.jpg", "frame12.PNG", "v_x_g01_c01_0001.jpeg", "a 7 b.webp", "-1.tif"])
def test_numbered_pictures_are_frames(name: str) -> None:
    assert is_frame(name)


@pytest.mark.parametrize("name", ["cover.jpg", "0001.txt", "Thumbs.db", ".0001.jpg", "0001", "x.mp4", "1.jpg.part"])
def test_other_names_are_not(name: str) -> None:
    assert not is_frame(name)


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=30, unique=True),
    st.sampled_from(["", "img_", "v_Jump_g01_c02_", "2024-01-01 "]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_the_order_is_that_of_the_numbers(
    numbers: list[int], prefix: str, padded: bool, shuffle: random.Random
) -> None:
    names = [f"{prefix}{number:07d}.png" if padded else f"{prefix}{number}.jpg" for number in sorted(numbers)]
    given_names = list(names)
    shuffle.shuffle(given_names)
    assert list(frame_order(given_names).names) == names


def test_gaps_are_counted_by_the_step_of_the_series() -> None:
    def gaps(*numbers: int) -> tuple[int, int]:
        order = frame_order([f"{number}.jpg" for number in numbers])
        return order.num_missing, order.first_missing

    assert gaps(1, 2, 3, 4) == gaps(0, 5, 10, 15) == gaps(7) == (0, -1)
    assert gaps(1, 2, 5, 6) == (2, 3)
    assert gaps(0, 5, 20) == (2, 10)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["flow_x_1.jpg", "flow_y_1.jpg", "img_1.jpg"], r"names of 3 kinds \(flow_x_1.jpg, flow_y_1.jpg, img_1.jpg\)"),
        (["1.jpg", "2.jpg", "02.jpg"], "the same number: 02.jpg and 2.jpg"),
        (["1.jpg", "1.png"], "the same number: 1.jpg and 1.png"),
        (["cam1_1.jpg", "cam1_2.jpg", "cam2_1.jpg"], r"several places of their names \(cam1_1.jpg, cam2_1.jpg\)"),
    ],
)
def test_an_order_that_is_not_clear_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frame_order(names)
