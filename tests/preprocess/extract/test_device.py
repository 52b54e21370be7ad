"""What a run on a GPU says of it, and that no healthy clip is lost to it: with GPUs that are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import made_gpus
import pytest
from media import HMDB_LIKE, make_video

from preprocess.extract import shards as shards_module
from preprocess.extract.command import run_extraction
from preprocess.extract.decoders import DecoderCounts
from preprocess.extract.engines import device as device_module
from preprocess.extract.engines.device import Trial, choose_extraction
from preprocess.extract.extraction_plan import Extraction, ExtractionParameters, clip_facts, make_plan
from preprocess.extract.settings import ExtractionSettings
from preprocess.extract.state import write_extraction_plan
from shared.errors import DataError
from shared.manifests.files import read_manifests
from shared.video.listing import list_videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, ffmpeg: str) -> Path:
    """Two AVI files and one MP4."""
    folder = tmp_path_factory.mktemp("gpu_videos")
    for name in ("a.avi", "b.avi"):
        make_video(folder / "run" / name, *HMDB_LIKE, num_frames=17, size="64x48")
    make_video(folder / "run" / "c.mp4", num_frames=17, size="64x48")
    return folder


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a GPU into this machine; its jobs are done by the function given."""

    def install(extract_clip: Callable[..., object]) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        for module in (shards_module, device_module):
            monkeypatch.setattr(module, "extract_clip", extract_clip)

    return install


def run(
    videos: Path, folder: Path, *, device: str, timeout_seconds: float = 60.0, overwrite: bool = False
) -> dict[str, str]:
    """Extract; returns the decoder of each clip."""
    settings = ExtractionSettings(
        videos=videos,
        shards=folder / "shards",
        manifests=folder / "manifests",
        parameters=ExtractionParameters(size="16x16"),
        device=device,
        num_workers=1,
        timeout_seconds=timeout_seconds,
        strict=True,
        overwrite=overwrite,
    )
    run_extraction(settings)
    clips = read_manifests(folder / "manifests")
    return dict(zip(clips["clip_id"], clips["decoder"], strict=True))


ALL_ON_CPU = {"run/a": "cpu", "run/b": "cpu", "run/c": "cpu"}


def test_clips_are_counted_by_what_decoded_them(
    videos: Path, tmp_path: Path, gpu: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    gpu(made_gpus.extract_mp4_on_gpu)
    assert run(videos, tmp_path, device="cuda") == ALL_ON_CPU | {"run/c": "cuda"}
    out = capsys.readouterr().out
    assert "decoded on the GPU: 1 clip, on the CPU: 2 clips (NVDEC does not know this codec)" in out
    assert "none of the first" not in out


@pytest.mark.parametrize(
    ("extract_clip", "reason", "seconds"),
    [
        (made_gpus.extract_on_small_gpu, "CUDA out of memory. Tried to allocate 2.00 MiB", 60.0),
        (made_gpus.extract_and_die_on_gpu, "the decoding process died with exit code -9", 60.0),
        (made_gpus.extract_and_hang_on_gpu, "decoding took more than 3 s (--timeout)", 3.0),
    ],
)
def test_a_gpu_that_fails_costs_no_clip(
    videos: Path,
    tmp_path: Path,
    gpu: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    extract_clip: Callable[..., object],
    reason: str,
    seconds: float,
) -> None:
    gpu(extract_clip)
    assert run(videos, tmp_path, device="cuda", timeout_seconds=seconds) == ALL_ON_CPU
    out = capsys.readouterr().out
    assert f"the GPU decoded none of the first 3 clips ({reason}); the CPU decodes them" in out
    assert f"decoded on the GPU: 0 clips, on the CPU: 3 clips ({reason})" in out


def test_auto_does_not_take_a_gpu_that_decodes_nothing(
    videos: Path, tmp_path: Path, gpu: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    gpu(made_gpus.extract_on_small_gpu)
    assert run(videos, tmp_path, device="auto") == ALL_ON_CPU
    out = capsys.readouterr().out
    assert "with the GPU, which decoded 0 of 3 (CUDA out of memory. Tried to allocate 2.00 MiB): cpu" in out
    assert "decoded on the GPU" not in out


def made_extraction(videos: Path, *, device: str) -> Extraction:
    plan = make_plan(list_videos(videos).videos, ExtractionParameters(size="16x16"))
    return Extraction(
        plan=plan,
        facts=clip_facts(plan),
        videos_folder=videos,
        shards_folder=videos,
        device=device,
        num_workers=32,
        timeout_seconds=60.0,
    )


@pytest.mark.parametrize(
    ("on_gpu", "seconds", "chosen"), [(3, 0.5, ("cuda", 8)), (0, 0.5, ("cpu", 32)), (3, 2.0, ("cpu", 32))]
)
def test_auto_takes_the_faster_one(
    videos: Path,
    gpu: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    on_gpu: int,
    seconds: float,
    chosen: tuple[str, int],
) -> None:
    gpu(made_gpus.extract_mp4_on_gpu)
    trials = {
        "cpu": Trial(counts=DecoderCounts(on_cpu=3), seconds=1.0),
        "cuda": Trial(counts=DecoderCounts(on_gpu=on_gpu, on_cpu=3 - on_gpu), seconds=seconds),
    }
    monkeypatch.setattr(device_module, "try_out", lambda extraction: trials[extraction.device])
    extraction = choose_extraction(made_extraction(videos, device="auto"), most_on_gpu=8)
    assert (extraction.device, extraction.num_workers) == chosen


def test_a_gpu_that_is_not_there_leaves_no_trace(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DataError, match="--device cuda: no CUDA GPU is to be seen"):
        run(videos, tmp_path, device="cuda")
    assert capsys.readouterr().out == ""
    assert [file.name for file in (tmp_path / "shards").iterdir()] == [".lock"]
    run(videos, tmp_path, device="cpu")
    before = sorted((tmp_path / "shards").iterdir())
    with pytest.raises(DataError, match="--device cuda: no CUDA GPU is to be seen"):
        run(videos, tmp_path, device="cuda", overwrite=True)
    assert sorted((tmp_path / "shards").iterdir()) == before


def test_a_disk_too_small_leaves_no_plan(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(DataError, match="GB are needed"):
        run(videos, tmp_path, device="cpu")
    assert [file.name for file in (tmp_path / "shards").iterdir()] == [".lock"]


def test_a_plan_of_which_nothing_came_is_replaced(videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    write_extraction_plan(folder, make_plan(list_videos(videos).videos, ExtractionParameters(size="24x24")))
    assert run(videos, tmp_path, device="cpu") == ALL_ON_CPU
    for file in folder.glob("shard-*"):
        file.unlink()
    write_extraction_plan(folder, make_plan(list_videos(videos).videos, ExtractionParameters(size="24x24")))
    with pytest.raises(DataError, match="size was 24x24, now 16x16"):  # the note on a shard is there
        run(videos, tmp_path, device="cpu")


def test_without_a_gpu(videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_extraction(made_extraction(videos, device="auto"), most_on_gpu=8).device == "cpu"
    assert "no CUDA GPU is to be seen" in capsys.readouterr().out
    with pytest.raises(DataError, match="--device cuda: no CUDA GPU is to be seen"):
        choose_extraction(made_extraction(videos, device="cuda"), most_on_gpu=8)
