"""doctor: sound here, and right about machines where something is broken (stand-ins for the packages on PYTHONPATH)."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest

from preprocess.doctor.command import Facts, Finding, diagnose, judge, print_diagnosis, probe
from preprocess.doctor.probe import NUM_FRAMES, STAGES

SOUND: dict[str, dict[str, object]] = {
    "packages": {
        "versions": {
            "torch": "2.13.0+cpu",
            "torchcodec": "0.13.0",
            "numpy": "2.4.6",
            "h5py": "3.16.0",
            "numba": "0.68.1",
            "pandas": "3.1.1",
            "scikit-learn": "1.9.1",
            "imbalanced-learn": "0.14.2",
        }
    },
    "ffmpeg_libraries": {"majors": [5]},
    "nvdec": {"loads": False},
    "h5py": {"hdf5": "2.0.0"},
    "torch": {"cuda": None, "gpu": None},
    "torchcodec": {"ffmpeg": "5.1.9", "reads_in_order": True},
    "decode": {"num_frames": NUM_FRAMES},
}
NOT_LOADED = {"error": "RuntimeError: Could not load libtorchcodec. Likely causes: ..."}


def facts(**stages: dict[str, object]) -> dict[str, Facts]:
    return {**copy.deepcopy(SOUND), **stages}


def versions(**packages: str | None) -> dict[str, object]:
    sound = SOUND["packages"]["versions"]
    assert isinstance(sound, dict)
    return {"versions": {**sound, **packages}}


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.state for finding in findings if finding.state != "ok"}


def test_a_sound_machine_has_nothing_to_mend() -> None:
    findings = judge(SOUND, nvidia="")
    assert states(findings) == {}
    assert by_name(findings)["decoding"].value.startswith("20 of 20 frames")
    assert by_name(findings)["GPU"].value == "none (no CUDA, no NVDEC); everything runs on the CPU"


def test_the_probe_finds_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what the user's own files in the current folder are called."""
    pytest.importorskip("torchcodec")
    monkeypatch.chdir(tmp_path)
    for name in ("preprocess", "h5py"):
        Path(f"{name}.py").write_text("raise SystemExit('this is not ours')\n")
    found = probe()
    assert list(found) == list(STAGES)
    assert {stage: one["error"] for stage, one in found.items() if "error" in one} == {}
    assert found["decode"]["num_frames"] == NUM_FRAMES


def test_a_cuda_torchcodec_with_a_cpu_torch() -> None:
    findings = judge(facts(packages=versions(torchcodec="0.17.0"), torchcodec=NOT_LOADED, decode=NOT_LOADED), nvidia="")
    finding = by_name(findings)["torchcodec"]
    assert finding.state == "bad"
    assert "torchcodec 0.17.0 is a CUDA build and torch 2.13.0+cpu is a CPU build" in finding.remedy
    assert states(findings) == {"torchcodec": "bad", "decoding": "bad"}


def test_a_torchcodec_for_another_torch() -> None:
    findings = judge(facts(packages=versions(torchcodec="0.10.0"), torchcodec=NOT_LOADED), nvidia="")
    remedy = by_name(findings)["torchcodec"].remedy
    assert remedy == "torchcodec 0.10.0 is too old for torch 2.13.0+cpu: pip install 'torchcodec>=0.11,<0.14'"


def test_missing_ffmpeg_libraries_come_first() -> None:
    broken = facts(packages=versions(torchcodec="0.17.0"), ffmpeg_libraries={"majors": []}, torchcodec=NOT_LOADED)
    findings = by_name(judge(broken, nvidia=""))
    assert findings["FFmpeg libraries"].remedy == "apt-get install ffmpeg"
    assert "apt-get install ffmpeg" in findings["torchcodec"].remedy


def test_an_old_torch() -> None:
    finding = by_name(judge(facts(packages=versions(torch="2.9.1")), nvidia=""))["torch"]
    assert finding.state == "bad" and finding.remedy.startswith("too old: pip install -U")


@pytest.mark.parametrize(
    ("torch", "torchcodec"), [("2.11.0+cpu", "0.11.0"), ("2.13.0", "0.17.0"), ("2.14.1", "0.17.0")]
)
def test_what_was_tried_needs_no_word(torch: str, torchcodec: str) -> None:
    assert states(judge(facts(packages=versions(torch=torch, torchcodec=torchcodec)), nvidia="")) == {}


def test_what_is_newer_than_tried_may_work() -> None:
    findings = judge(facts(packages=versions(torch="2.15.0", torchcodec="1.0.0")), nvidia="")
    assert states(findings) == {"torch": "warn", "torchcodec": "warn"}
    assert "pip install 'torch==2.14.*'" in by_name(findings)["torch"].remedy
    assert "pip install 'torchcodec==0.17.*'" in by_name(findings)["torchcodec"].remedy


def test_missing_packages() -> None:
    missing = versions(torch=None, torchcodec=None, h5py=None, numpy=None)
    findings = judge(facts(packages=missing, torch={"error": "x"}, torchcodec={"error": "x"}), nvidia="")
    assert states(findings) == dict.fromkeys(("numpy", "h5py", "torch", "torchcodec"), "bad")


def test_without_numba_all_works_slowly() -> None:
    finding = by_name(judge(facts(packages=versions(numba=None)), nvidia=""))["numba"]
    assert (finding.state, finding.value) == ("warn", "missing")
    assert "pip install numba" in finding.remedy


def test_a_torchcodec_without_blocks_and_private_function() -> None:
    changed = facts(torchcodec={"ffmpeg": "5.1.9", "reads_in_order": False}, decode={"error": "ImportError: x"})
    findings = by_name(judge(changed, nvidia=""))
    assert "cannot read frame after frame" in findings["torchcodec"].remedy
    assert findings["decoding"].value == "ImportError: x"


def test_lost_frames_are_bad() -> None:
    finding = by_name(judge(facts(decode={"num_frames": 19}), nvidia=""))["decoding"]
    assert finding.state == "bad" and finding.value.startswith("19 of 20")


def test_graphics_cards() -> None:
    card = "NVIDIA T4, driver 580.1"
    findings = by_name(judge(SOUND, nvidia=card))
    assert findings["torch"].state == "warn" and "constraints-cuda.txt" in findings["torch"].remedy
    assert findings["GPU"].state == "warn"
    cuda = facts(torch={"cuda": "13.0", "gpu": "NVIDIA T4"}, packages=versions(torch="2.13.0"), nvdec={"loads": True})
    assert states(judge(cuda, nvidia=card)) == {}
    without_nvdec = facts(torch={"cuda": "13.0", "gpu": "NVIDIA T4"}, packages=versions(torch="2.13.0"))
    assert "libnvcuvid" in by_name(judge(without_nvdec, nvidia=card))["GPU"].remedy


def stand_in(folder: Path, package: str, code: str) -> None:
    path = folder / package / "__init__.py"
    path.parent.mkdir(parents=True)
    path.write_text(code)


def test_a_crash_while_importing_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "torchcodec", "import os, sys\nsys.stderr.write('terminate called\\n')\nos.abort()\n")
    stand_in(
        tmp_path, "torch", "class version: cuda = None\nclass cuda:\n    is_available = staticmethod(lambda: False)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = probe()
    assert found["torchcodec"]["error"] == "the process ended with code -6: terminate called"
    assert "decode" not in found
    findings = judge(found, nvidia="")
    assert states(findings) == {"torchcodec": "bad", "decoding": "bad"}
    assert "not tried" in by_name(findings)["decoding"].value


def test_a_torch_that_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "torch", "raise OSError('libcudart.so.13: cannot open shared object file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    findings = by_name(judge(probe(), nvidia=""))
    assert "libcudart.so.13" in findings["torch"].value and findings["torch"].state == "bad"
    assert findings["torchcodec"].remedy == "mend torch first"


def test_a_hang_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "torch", "import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("preprocess.doctor.command._PROBE_TIMEOUT_SECONDS", 3.0)
    assert str(probe()["torch"]["error"]).startswith("no answer within 3 s")


def test_missing_tools_and_a_small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(total=64_000_000, free=500_000_000)
    monkeypatch.setattr("preprocess.doctor.command.shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr("preprocess.doctor.command.probe", lambda: SOUND)
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = diagnose(data=tmp_path / "not" / "there")
    assert states(findings) == {"ffmpeg command": "warn", "RAR": "warn", "disk": "bad", "/dev/shm": "warn"}
    assert by_name(findings)["disk"].value == f"0.5 GB free at {tmp_path}"


def test_a_mac_needs_no_shared_memory_and_no_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("preprocess.doctor.command.probe", lambda: SOUND)
    assert "/dev/shm" not in by_name(diagnose(data=tmp_path))
    broken = facts(packages=versions(torchcodec="0.17.0"), ffmpeg_libraries={"majors": []}, torchcodec=NOT_LOADED)
    assert "brew install ffmpeg" in by_name(judge(broken, nvidia=""))["torchcodec"].remedy
    broken = facts(packages=versions(torchcodec="0.17.0"), torchcodec=NOT_LOADED)
    assert "CUDA" not in by_name(judge(broken, nvidia=""))["torchcodec"].remedy


def test_printing_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    well, hinders = Finding(name="a", value="1"), Finding(name="b", value="2", state="warn", remedy="do this")
    assert print_diagnosis([well]) == 0
    assert "all is well" in capsys.readouterr().out
    assert print_diagnosis([well, hinders]) == 0
    assert "warn: b: do this" in capsys.readouterr().out
    assert print_diagnosis([hinders, Finding(name="c", value="3", state="bad", remedy="or that")]) == 1
    assert capsys.readouterr().out.endswith("bad: c: or that\n1 bad, 1 to know about\n")
