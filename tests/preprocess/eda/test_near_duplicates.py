"""Near duplicates: re-encoded, brightened and slightly cropped pictures are found, other pictures are not."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from preprocess.eda.near_duplicates import (
    MAX_DISTANCE,
    find_near_duplicates,
    looks_of,
    perceptual_hashes,
    small_pictures,
)

Frame = npt.NDArray[np.uint8]


def scene(seed: int, height: int = 224, width: int = 304) -> Frame:
    """A picture with structure at several scales, as scenes have."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells, weight in ((3, 1.0), (6, 0.6), (14, 0.4), (40, 0.2)):
        coarse = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        large = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += weight * np.asarray(large, dtype=np.float64)
    return np.asarray(total / total.max() * 255, dtype=np.uint8)


def recompressed(frame: Frame) -> Frame:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=25)
    return np.asarray(Image.open(buffer))


def cropped(frame: Frame) -> Frame:
    height, width = frame.shape[:2]
    part = Image.fromarray(frame[height // 50 : -(height // 50), width // 50 : -(width // 50)])
    return np.asarray(part.resize((width, height), Image.Resampling.BILINEAR))


def clips_of(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Rows of class, source, split1, split2."""
    frame = pd.DataFrame(rows, columns=["class_name", "source", "split1", "split2"])
    clip_ids = [f"{name}/{source}_{index}" for index, (name, source, _, _) in enumerate(rows)]
    return frame.assign(split3="unused", split_full="train", clip_id=clip_ids)


def bits_apart(first: Frame, second: Frame) -> int:
    hashes = perceptual_hashes(small_pictures(np.stack([first, second])))
    return int(np.bitwise_count(hashes[0] ^ hashes[1]).sum())


@pytest.mark.parametrize("change", [recompressed, cropped, lambda frame: (frame * 0.7).astype(np.uint8)])
def test_hash_hardly_changes_where_the_picture_hardly_does(change: object) -> None:
    assert callable(change)
    assert all(bits_apart(scene(seed), change(scene(seed))) <= MAX_DISTANCE for seed in range(8))


def test_hashes_of_unrelated_pictures_differ_in_about_half_of_the_bits() -> None:
    distances = [bits_apart(scene(seed), scene(seed + 100)) for seed in range(20)]
    assert 100 < np.mean(distances) < 156
    assert min(distances) > MAX_DISTANCE


@pytest.mark.parametrize("shape", [(1, 1), (7, 500), (48, 64), (480, 854)])
def test_small_pictures_keep_the_mean_of_any_size(shape: tuple[int, int]) -> None:
    frames = np.full((2, *shape, 3), (10, 20, 30), dtype=np.uint8)
    small = small_pictures(frames)
    assert small.shape == (2, 32, 32)
    np.testing.assert_allclose(small, 0.299 * 10 + 0.587 * 20 + 0.114 * 30, rtol=1e-5)


def test_finds_the_pairs_and_says_what_they_join() -> None:
    shared = scene(0)
    frames = [
        [scene(1), shared, scene(2)],
        [recompressed(shared), scene(3), scene(4)],  # the same moment at another place in its clip
        [scene(5), scene(6), scene(7)],
        [scene(8), cropped(scene(6)), scene(9)],
    ]
    clips = clips_of(
        ("run", "film", "train", "train"),
        ("walk", "upload", "test", "train"),
        ("run", "x", "train", "test"),
        ("run", "x", "train", "unused"),
    )
    pictures = np.stack([small_pictures(np.stack(clip)) for clip in frames])
    found = find_near_duplicates(clips, looks_of(pictures))
    pairs = found.pairs[["row_a", "row_b", "same_source", "same_class", "split1", "split2"]].to_numpy().tolist()
    assert pairs == [[0, 1, False, False, True, False], [2, 3, True, True, False, False]]
    assert found.counts()["all"] == 2
    assert found.num_across_sources == 1
    assert found.num_across_split == {"split1": 1, "split2": 0, "split3": 0, "split_full": 0}


def test_flat_pictures_say_nothing() -> None:
    frames = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    pictures = np.stack([small_pictures(frames), small_pictures(frames + 1), small_pictures(frames)])
    found = find_near_duplicates(clips_of(*[("a", str(i), "train", "test") for i in range(3)]), looks_of(pictures))
    assert (found.num_pairs, len(found.pairs)) == (0, 0)


def test_every_pair_is_found_across_blocks() -> None:
    """1200 frames make several blocks; every 100th clip shows the same scene."""
    generator = np.random.default_rng(0)
    pictures = generator.uniform(0, 255, (400, 3, 32, 32)).astype(np.float32)
    pictures[::100, 1] = small_pictures(scene(3)[None])[0]
    found = find_near_duplicates(clips_of(*[("a", "s", "train", "test")] * 400), looks_of(pictures))
    expected = {(a, b) for a in range(0, 400, 100) for b in range(a + 100, 400, 100)}
    assert {(row.row_a, row.row_b) for row in found.pairs.itertuples()} == expected
    assert set(found.pairs["distance"]) == {0}
