"""Says what is installed, what is wrong with it and how to mend it; works where torch or FFmpeg are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from preprocess.doctor.probe import NUM_FRAMES, PACKAGES, PREFIX, STAGES
from shared.errors import first_line, last_line
from shared.machine.cores import available_cores
from shared.missing_packages import install
from shared.terminal.console import print_table, say

State = Literal["ok", "warn", "bad"]
Facts = Mapping[str, object]

_PROBE_TIMEOUT_SECONDS = 180.0
_SHARDS_GIGABYTES = 25.0  # HMDB51 at 224x304, 16 frames: 6766 * 16 * 224 * 304 * 3 bytes are 22 GB
# Tried: torchcodec 0.11 to 0.13 (CPU builds) and 0.17 (CUDA) with torch 2.13 and 2.14; 0.14 to 0.16 (CUDA) with 2.14.
# From 0.11 on torchcodec is not bound to one version of torch, but no CPU build of torch loads a CUDA build of it.
_OLDEST = {"torch": "2.11", "torchcodec": "0.11"}
_NEWEST_TRIED = {"torch": "2.14", "torchcodec": "0.17"}
_FIRST_CUDA_TORCHCODEC = (0, 14)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at."""

    name: str
    value: str
    state: State = "ok"  # ``warn`` hinders some things, ``bad`` all
    remedy: str = ""  # what to do where state is not ``ok``


def _warn(name: str, value: str, remedy: str) -> Finding:
    return Finding(name=name, value=value, state="warn", remedy=remedy)


def _bad(name: str, value: str, remedy: str) -> Finding:
    return Finding(name=name, value=value, state="bad", remedy=remedy)


def diagnose(*, data: Path = Path("data")) -> list[Finding]:
    """Look at everything that the commands need. ``data`` is the folder whose disk will hold videos and shards."""
    facts = probe()
    return [_python(), *judge(facts, nvidia=_nvidia()), *_tools(), *_machine(data)]


def print_diagnosis(findings: Sequence[Finding]) -> int:
    """Print a table, then what to do. Returns the exit code: 1 if anything is bad."""
    print_table("hmdb-prep doctor", ("what", "state", "found"), [(f.name, f.state, f.value) for f in findings])
    for finding in findings:
        if finding.state != "ok":
            say(f"{finding.state}: {finding.name}: {finding.remedy}")
    num_bad = sum(finding.state == "bad" for finding in findings)
    num_warn = sum(finding.state == "warn" for finding in findings)
    say("all is well" if not num_bad + num_warn else f"{num_bad} bad, {num_warn} to know about")
    return 1 if num_bad else 0


def probe() -> dict[str, Facts]:
    """Run the probe in a process of its own. Stages not reached are absent; the one it died in has an error."""
    file = Path(__file__).with_name("probe.py")
    command = [sys.executable, "-P", str(file)]  # without the current folder, where files of the user's own may lie
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PROBE_TIMEOUT_SECONDS, check=False
        )
        output, end = done.stdout, f"the process ended with code {done.returncode}: {last_line(done.stderr)}"
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout.decode(errors="replace") if isinstance(expired.stdout, bytes) else expired.stdout or ""
        end = f"no answer within {_PROBE_TIMEOUT_SECONDS:.0f} s"
    lines = [line for line in output.splitlines() if line.startswith(PREFIX)]
    stages = [json.loads(line.removeprefix(PREFIX)) for line in lines]
    facts: dict[str, Facts] = {stage["stage"]: stage for stage in stages}
    for stage in STAGES:
        if stage not in facts:
            facts[stage] = {"error": end}
            break
    return facts


def judge(facts: Mapping[str, Facts], *, nvidia: str) -> list[Finding]:
    """Findings about the libraries. ``nvidia``: the driver's word on its GPU, empty where there is none."""
    versions = _versions(facts)
    return [
        *(_package(name, versions) for name in PACKAGES if name not in ("torch", "torchcodec", "h5py")),
        _h5py(facts, versions),
        _torch(facts, versions, nvidia=nvidia),
        _ffmpeg_libraries(facts),
        _torchcodec(facts, versions),
        _decoding(facts),
        _gpu(facts, nvidia=nvidia),
    ]


def _versions(facts: Mapping[str, Facts]) -> dict[str, str]:
    found = facts.get("packages", {}).get("versions")
    return {name: version for name, version in found.items() if version} if isinstance(found, dict) else {}


def _stage(facts: Mapping[str, Facts], stage: str) -> tuple[Facts, str]:
    """What a stage found, and its error: empty where it went well."""
    found = facts.get(stage, {"error": "not tried, an earlier step ended the process"})
    return found, str(found.get("error", ""))


def _numbers(version: str) -> tuple[int, int]:
    """The first two numbers of a version."""
    parts = [int("".join(filter(str.isdigit, part)) or 0) for part in version.partition("+")[0].split(".")[:2]]
    return (parts[0], parts[1]) if len(parts) == 2 else (0, 0)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(name="Python", value=f"{version} ({sys.executable})")


def _package(name: str, versions: Mapping[str, str]) -> Finding:
    if name not in versions:
        if name == "numba":  # torch does the same, slowly
            return _warn(name, "missing", "clips are measured many times slower without; pip install numba")
        return _bad(name, "missing", f"pip install {name}")
    return Finding(name=name, value=versions[name])


def _h5py(facts: Mapping[str, Facts], versions: Mapping[str, str]) -> Finding:
    found, error = _stage(facts, "h5py")
    if "h5py" not in versions:
        return _package("h5py", versions)
    if error:
        return _bad("h5py", first_line(error), "pip install --force-reinstall h5py")
    return Finding(name="h5py", value=f"{versions['h5py']} with HDF5 {found['hdf5']}")


def _torch(facts: Mapping[str, Facts], versions: Mapping[str, str], *, nvidia: str) -> Finding:
    found, error = _stage(facts, "torch")
    if "torch" not in versions:
        remedy = "pip install -c constraints-cpu.txt torch (constraints-cuda.txt where there is an NVIDIA GPU)"
        return _bad("torch", "missing", remedy)
    if error:
        remedy = "pip install --force-reinstall torch, with the constraints file that fits"
        return _bad("torch", f"{versions['torch']}: {first_line(error)}", remedy)
    value = f"{versions['torch']}, " + (f"CUDA {found['cuda']} build" if found["cuda"] else "CPU build")
    if _numbers(versions["torch"]) < _numbers(_OLDEST["torch"]):
        return _bad("torch", value, "too old: pip install -U -c constraints-cpu.txt torch torchcodec")
    if nvidia and not found["cuda"]:
        return _warn("torch", value, "it cannot use the GPU: pip install -U -c constraints-cuda.txt torch torchcodec")
    return _untried("torch", value, versions["torch"]) or Finding(name="torch", value=value)


def _untried(name: str, value: str, version: str) -> Finding | None:
    """A word of warning where a package is newer than any that was tried."""
    newest = _NEWEST_TRIED[name]
    if _numbers(version) <= _numbers(newest):
        return None
    return _warn(name, value, f"newer than any that was tried; if it fails: pip install '{name}=={newest}.*'")


def _ffmpeg_libraries(facts: Mapping[str, Facts]) -> Finding:
    found, error = _stage(facts, "ffmpeg_libraries")
    majors = found.get("majors")
    if error or not isinstance(majors, list) or not majors:
        return _bad("FFmpeg libraries", error or "missing", install("ffmpeg"))
    loaded = facts.get("torchcodec", {}).get("ffmpeg")
    value = f"FFmpeg {', '.join(map(str, majors))} found" + (f", torchcodec loads {loaded}" if loaded else "")
    return Finding(name="FFmpeg libraries", value=value)


def _torchcodec(facts: Mapping[str, Facts], versions: Mapping[str, str]) -> Finding:
    found, error = _stage(facts, "torchcodec")
    if "torchcodec" not in versions:
        remedy = "pip install -c constraints-cpu.txt torchcodec (constraints-cuda.txt where there is an NVIDIA GPU)"
        return _bad("torchcodec", "missing", remedy)
    version = versions["torchcodec"]
    if error:
        value = f"{version} does not load: {first_line(error)}"
        return _bad("torchcodec", value, _torchcodec_remedy(facts, versions))
    if not found["reads_in_order"]:
        return _bad("torchcodec", version, "it cannot read frame after frame; pip install 'torchcodec>=0.11,<0.18'")
    return _untried("torchcodec", version, version) or Finding(name="torchcodec", value=version)


def _torchcodec_remedy(facts: Mapping[str, Facts], versions: Mapping[str, str]) -> str:
    """Why torchcodec does not load, the likeliest cause first. Pip notices none of these."""
    torch_facts, torch_error = _stage(facts, "torch")
    codec, torch_version = versions["torchcodec"], versions.get("torch", "")
    if torch_error or not torch_version:
        return "mend torch first"
    if not facts.get("ffmpeg_libraries", {}).get("majors"):
        return f"FFmpeg's libraries are missing: {install('ffmpeg')}"
    is_for_cuda = _numbers(codec) >= _FIRST_CUDA_TORCHCODEC and "+cpu" not in codec and sys.platform == "linux"
    if is_for_cuda and not torch_facts["cuda"]:
        return (
            f"torchcodec {codec} is a CUDA build and torch {torch_version} is a CPU build: "
            f"pip install -c constraints-cpu.txt torch torchcodec (torchcodec 0.13 with torch 2.13), "
            "or a CUDA build of torch with constraints-cuda.txt"
        )
    if _numbers(codec) < _numbers(_OLDEST["torchcodec"]):
        return f"torchcodec {codec} is too old for torch {torch_version}: pip install 'torchcodec>=0.11,<0.14'"
    return "pip install --force-reinstall torchcodec, with the constraints file that fits"


def _decoding(facts: Mapping[str, Facts]) -> Finding:
    found, error = _stage(facts, "decode")
    remedy = "mend what is bad above; without it no video can be read"
    if error:
        return _bad("decoding", first_line(error), remedy)
    value = f"{found['num_frames']} of {NUM_FRAMES} frames of an MPEG-4 AVI with B-frames"
    if found["num_frames"] != NUM_FRAMES:
        remedy = "this build loses frames; install the versions of the constraints file that fits"
        return _bad("decoding", value, remedy)
    return Finding(name="decoding", value=value)


def _gpu(facts: Mapping[str, Facts], *, nvidia: str) -> Finding:
    gpu = facts.get("torch", {}).get("gpu")
    nvdec = bool(facts.get("nvdec", {}).get("loads"))
    if facts.get("torch", {}).get("mps"):
        return Finding(name="GPU", value="of a Mac; used with `lsvit-train ... --device mps` alone")
    if not nvidia and not gpu:
        return Finding(name="GPU", value="none (no CUDA, no NVDEC); everything runs on the CPU")
    value = f"{gpu or nvidia}; NVDEC {'available' if nvdec else 'missing'}"
    if not gpu:
        remedy = (
            "torch does not see the GPU: a CUDA build of torch (constraints-cuda.txt) and a driver for it are needed"
        )
        return _warn("GPU", value, remedy)
    if not nvdec:
        remedy = (
            "videos are decoded on the CPU; for the GPU install the driver's libnvcuvid (apt-get install libnvcuvid1)"
        )
        return _warn("GPU", value, remedy)
    return Finding(name="GPU", value=value)


def _nvidia() -> str:
    """What the driver says: name and version; empty where there is no driver or no GPU."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (FileNotFoundError, PermissionError, subprocess.TimeoutExpired):
        return ""
    name, _, driver = done.stdout.partition("\n")[0].partition(",")
    return f"{name.strip()}, driver {driver.strip()}" if done.returncode == 0 and name.strip() else ""


def _tools() -> list[Finding]:
    return [
        _tool("ffmpeg command", "ffmpeg", remedy=f"the tests need it: {install('ffmpeg')}"),
        _tool("RAR", "unar", "bsdtar", remedy=f"`fetch` of a .rar needs it: {install('unar')}"),
    ]


def _tool(name: str, *commands: str, remedy: str) -> Finding:
    """The first of several commands that is installed."""
    found = next(filter(None, map(shutil.which, commands)), None)
    return Finding(name=name, value=found) if found else _warn(name, "missing", remedy)


def _machine(data: Path) -> list[Finding]:
    cores = available_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9  # macOS has both
    few = "fewer than 4 GB: use --workers 1 and a smaller --batch-size"
    return [
        _disk(data),
        Finding(name="cores", value=str(cores)),
        Finding(name="memory", value=f"{memory:.1f} GB", state="ok" if memory >= 4 else "warn", remedy=few),
        *([_shared_memory(Path("/dev/shm"))] if sys.platform == "linux" else []),
    ]


def _disk(data: Path) -> Finding:
    folder = next(parent for parent in (data.absolute(), *data.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free / 1e9
    value = f"{free:.1f} GB free at {folder}"
    if free < 1:
        return _bad("disk", value, "free some space, or put data elsewhere with --shards")
    if free < _SHARDS_GIGABYTES:
        remedy = f"all of HMDB51 needs {_SHARDS_GIGABYTES:.0f} GB at 224x304; a smaller --size needs less"
        return _warn("disk", value, remedy)
    return Finding(name="disk", value=value)


def _shared_memory(folder: Path) -> Finding:
    if not folder.is_dir():
        return _warn("/dev/shm", "missing", "loading with workers needs it")
    total = shutil.disk_usage(folder).total / 1e9
    small = "workers pass batches through it; in Docker use --shm-size=2g"
    return Finding(name="/dev/shm", value=f"{total:.1f} GB", state="ok" if total >= 1 else "warn", remedy=small)
