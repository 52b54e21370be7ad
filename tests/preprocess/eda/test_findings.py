"""Findings: numbers counted again from the CSV files, said only where true, with links and commands that work."""

from __future__ import annotations

import base64
import csv
import dataclasses
import re
import shlex
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from commands import run, succeed
from eda_data import picture_of, summary_of, write_data_set

from preprocess.eda.command import run_eda
from preprocess.eda.findings.conclusions import conclude
from preprocess.eda.findings.counts import on_near_duplicates
from preprocess.eda.findings.finding import Findings, listed
from preprocess.eda.images import read_looks
from preprocess.eda.near_duplicates import find_near_duplicates
from preprocess.eda.offsets import PICTURE_COLUMNS
from preprocess.eda.summary import summarize
from shared.manifests.files import QuarantineRow, read_dataset, read_manifests
from shared.manifests.left_out import LeftOut, write_left_out
from shared.pages.fonts import find_letters
from shared.splits.parts import ClipSplits, official_splits

SPLITS = ("split1", "split2", "split3", "split_full")


def clips_of(*classes: str, limit: int = 60) -> list[str]:
    return [
        clip for name in classes for clip in [clip for clip in official_splits() if clip.split("/")[0] == name][:limit]
    ]


def rows_of(manifests: Path) -> list[dict[str, str]]:
    """The manifest rows, read without any code of the project."""
    rows = []
    for file in sorted((manifests / "clips").glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as stream:
            rows += list(csv.DictReader(stream))
    return rows


def text_of(findings: Findings, title: str) -> str:
    return next(finding.text for finding in findings.found if finding.title == title)


def read_page(manifests: Path) -> str:
    return (manifests / "eda.html").read_text(encoding="utf-8")


def titles(findings: Findings) -> list[str]:
    return [finding.title for finding in findings.found]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of HMDB51 without pictures, a quarantined video and two files left out."""
    quarantined = (QuarantineRow(path="walk/broken.avi", stage="decode", error="no frame"),)
    folder = tmp_path_factory.mktemp("findings")
    manifests, _ = write_data_set(folder, list(official_splits()), quarantined=quarantined, with_shards=False)
    write_left_out(manifests, [LeftOut(path="a/b/c.avi", reason="too deep"), LeftOut(path=".git", reason="hidden")])
    return manifests


@pytest.fixture(scope="module")
def findings(manifests: Path) -> Findings:
    return conclude(summary_of(manifests), None, places="")


def test_balance(manifests: Path, findings: Findings) -> None:
    rows, text = rows_of(manifests), text_of(findings, "Balance")
    counts = Counter(row["class_name"] for row in rows)
    assert f"All clips: {max(counts.values())} of walk to {min(counts.values())} of " in text
    assert f"ratio {max(counts.values()) / min(counts.values()):.2f}." in text
    for split in SPLITS[:3]:
        assert set(Counter(row["class_name"] for row in rows if row[split] == "train").values()) == {70}
    assert "split1, split2 and split3 70 of each class, ratio 1.00;" in text
    assert "split1, split2 and split3 need no balancing." in text
    full = Counter(row["class_name"] for row in rows if row["split_full"] == "train")
    assert f"split_full {full['walk']} of walk to {min(full.values())} of " in text
    balance = next(finding for finding in findings.found if finding.title == "Balance")
    assert balance.commands == ("hmdb-prep balance --split full",)


def test_leaks(manifests: Path, findings: Findings) -> None:
    rows, text = rows_of(manifests), text_of(findings, "Leaks")
    for split in SPLITS:
        classes_of = defaultdict(set)
        for row in rows:
            if row[split] == "train":
                classes_of[row["source"]].add(row["class_name"])
        test = [row for row in rows if row[split] == "test"]
        leaking = [row for row in test if row["source"] in classes_of]
        own = sum(row["class_name"] in classes_of[row["source"]] for row in leaking)
        other = sum(bool(classes_of[row["source"]] - {row["class_name"]}) for row in leaking)
        said = (
            f"{len(leaking)} of {len(test)} in {split}, from {len({row['source'] for row in leaking})} sources "
            f"({own} with a training clip of their own class, {other} with one of another)"
        )
        assert (said in text) == bool(leaking)
    assert text.endswith("split_full keeps sources apart.")


def test_crop_padding_and_damage(manifests: Path, findings: Findings) -> None:
    rows = rows_of(manifests)
    # 224x304 of a picture of 240 lines, scaled to 224: what remains of its width is 304 of round(width * 224 / 240)
    kept = [304 / max(304, round(int(row["width"]) * 224 / 240)) for row in rows]
    losses = np.round([1 - share if share < 1 else 1 - 224 / 228 for share in kept], 6)
    cut = int((losses >= 0.1).sum())
    text = text_of(findings, "Cut pictures")
    assert text.startswith(f"{cut} of {len(rows)} clips ({cut / len(rows):.1%}) lose 10% or more")
    assert f"up to {losses.max():.1%}; over all clips {losses.mean():.1%} is lost" in text
    padded = [int(row["num_padded"]) for row in rows if int(row["num_padded"])]
    assert text_of(findings, "Padding").startswith(f"{len(padded)} of {len(rows)} clips")
    assert f"{sum(padded)} of {len(rows) * 4} frames" in text_of(findings, "Padding")
    errors = sum(int(row["decode_errors"]) > 0 for row in rows)
    pairs = [(int(row["num_frames"]), int(row["num_frames_header"])) for row in rows]
    short = sum(decoded < 0.9 * header and header - decoded > 2 for decoded, header in pairs)
    text = text_of(findings, "Damaged videos")
    assert text.startswith(f"1 of {len(rows) + 1} videos gave no clip; {errors} clips lost frames")
    assert f"; {short} clips lack more than 10% of the frames" in text
    assert "2 files and folders were left out: 1 hidden, 1 too deep." in text_of(findings, "Left out")


def test_nothing_is_said_where_nothing_is_wrong(tmp_path: Path) -> None:
    """One clip a source, wide splits of equal classes, alike pictures, whole videos of the stored shape."""
    parts = ("train", "train", "train", "test")
    columns = [dict(zip(SPLITS, (parts[(index + shift) % 4] for shift in range(4)), strict=True)) for index in range(4)]
    splits = {
        f"{name}/video{index}of{name}_{name}_f_nm_np1_fr_goo_0": ClipSplits(**columns[index % 4])
        for name in ("jump", "run", "walk")
        for index in range(12)
    }
    manifests, shards = write_data_set(tmp_path, list(splits), splits=splits)
    summary = summary_of(manifests)
    plain = {"num_padded": 0, "decode_errors": 0, "num_frames": 40, "num_frames_header": 41, "width": 320}
    alike = dict.fromkeys(PICTURE_COLUMNS, np.tile(np.linspace(40, 160, 12), 3))
    clips = summary.clips.assign(**plain, **alike)
    clean = summarize(
        clips, summary.dataset, quarantine=summary.quarantine, notes=summary.notes, left_out=summary.left_out
    )
    duplicates = find_near_duplicates(clips, read_looks(clips, shards, dataset_id=summary.dataset.dataset_id))
    findings = conclude(clean, duplicates, places="")
    assert titles(findings) == ["Balance", "Augmentation"]
    assert "12 of each class, ratio 1.00. Training clips: split1, split2, split3 and split_full 9 of each" in text_of(
        findings, "Balance"
    )
    assert "No class needs more than strength 1" in text_of(findings, "Augmentation")
    assert [command for finding in findings.found for command in finding.commands] == []
    assert len(findings.clear) == 9
    assert findings.not_checked == ()


def test_near_duplicates_of_other_sources_on_both_sides(tmp_path: Path) -> None:
    """Of three copies of one picture, only the pair of different sources across train and test counts."""
    names = ("walk/film_walk_f_nm_np1_fr_goo_0", "walk/film_walk_f_nm_np1_fr_goo_1", "run/other_run_f_nm_np1_fr_goo_0")
    parts = ("train", "test", "test")
    splits = {
        name: ClipSplits(split1=part, split2="unused", split3="train", split_full="train")
        for name, part in zip(names, parts, strict=True)
    }
    manifests, shards = write_data_set(
        tmp_path, list(names), splits=splits, pictures=dict.fromkeys(names, picture_of("one"))
    )
    clips = read_manifests(manifests)
    dataset_id = read_dataset(manifests).dataset_id
    duplicates = find_near_duplicates(clips, read_looks(clips, shards, dataset_id=dataset_id))
    assert duplicates.num_pairs == 3
    assert duplicates.num_hidden == {"split1": 1, "split2": 0, "split3": 0, "split_full": 0}
    found = on_near_duplicates(duplicates)
    assert found is not None
    assert ": 1 pair in split1." in found.text
    assert on_near_duplicates(dataclasses.replace(duplicates, num_hidden={})) is None


def test_small_data_sets_are_told_what_they_lack(tmp_path: Path) -> None:
    rest = dict.fromkeys(SPLITS[1:], "train")
    splits = {
        f"{name}/film_{name}_f_nm_np1_fr_goo_0": ClipSplits(split1=part, **rest)
        for name, part in (("run", "train"), ("walk", "train"), ("wave", "test"), ("sit", "test"))
    }
    manifests, _ = write_data_set(tmp_path, list(splits), splits=splits, with_shards=False)
    findings = conclude(summary_of(manifests), None, places="")
    missing = text_of(findings, "Missing classes")
    assert "split1 has no clips to train on of 2 classes (sit and wave)" in missing
    assert "split1 has no clips to test on of 2 classes (run and walk)" in missing
    single = text_of(findings, "One source")
    assert single.startswith("4 of 4 classes have clips of one source only: run, sit, walk and wave.")
    assert findings.not_checked[0].endswith("as most classes have a single clip")
    assert "Classes apart" not in titles(findings)


def test_classes_apart_are_named_with_their_strength(tmp_path: Path) -> None:
    manifests, _ = write_data_set(tmp_path, clips_of("run", "sit", "stand", "walk", "wave"), with_shards=False)
    summary = summary_of(manifests)
    brightness = np.random.default_rng(0).normal(100, 10, len(summary.clips))
    clips = summary.clips.assign(brightness=brightness - 30 * (summary.clips["class_name"] == "wave"))
    summary = summarize(
        clips, summary.dataset, quarantine=summary.quarantine, notes=summary.notes, left_out=summary.left_out
    )
    findings = conclude(summary, None, places=" --manifests 'my data'")
    apart = text_of(findings, "Classes apart")
    assert apart.startswith("1 class of 5 stands apart")
    said = re.search(r"darker: wave \(-(\d\.\d)\)\.", apart)
    assert said is not None
    assert 2.5 < float(said[1]) < 3.5
    augmentation = next(finding for finding in findings.found if finding.title == "Augmentation")
    assert augmentation.commands == ("lsvit-train run --aug-class wave=1.5 --manifests 'my data'",)
    low, high = np.quantile(clips["brightness"], (0.05, 0.95))
    assert f"brightness {low:.0f} to {high:.0f}," in augmentation.text


def test_lists_end_where_they_get_long() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_links_lead_to_places_of_the_page_and_commands_run(tmp_path: Path) -> None:
    """Through the command line, in a folder with a space, with leaks, pads, damage and shards."""
    folder = tmp_path / "my data"
    manifests, shards = write_data_set(folder, clips_of("run", "walk", limit=30) + clips_of("sit", limit=9))
    printed = succeed("hmdb-prep", "eda", "--shards", shards, "--manifests", manifests, installed=True)
    page = read_page(manifests)
    anchors = re.findall(r'<a href="#([^"]+)"', page)
    assert len(anchors) > 15
    assert all(f'id="{anchor}"' in page for anchor in anchors)
    commands = [line.strip() for line in printed.splitlines() if line.startswith("    hmdb-prep balance")]
    assert commands
    for command in commands[-1:]:
        program, *words = shlex.split(command)
        assert words[-4:] == ["--shards", str(shards), "--manifests", str(manifests)]
        assert "plan of" in succeed(program, *words, installed=True)


def test_findings_stand_before_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifests, shards = write_data_set(tmp_path, clips_of("run", "walk", limit=12), with_shards=False)
    out = run_eda(manifests=manifests, shards=shards, out=tmp_path / "eda.html")
    printed, page = capsys.readouterr().out, out.read_text(encoding="utf-8")
    assert printed.index("Findings") < printed.index("- Balance: ") < printed.index("Clips a class")
    assert page.index('id="findings"') < page.index("Balance") < page.index('id="classes"')
    assert "Not looked for: near duplicates across train and test, as the shards are not at hand." in printed


def test_chinese_names_say_nothing_on_standard_error(tmp_path: Path) -> None:
    """One line where no font has their letters, and the names themselves in the plots."""
    names = [f"{name}/film{index}_x" for name in ("跑步", "走路") for index in range(4)]
    splits = dict.fromkeys(names, ClipSplits(**dict.fromkeys(SPLITS, "train")))
    manifests, shards = write_data_set(tmp_path, names, splits=splits, with_shards=False)
    outcome = run("hmdb-prep", "eda", "--shards", shards, "--manifests", manifests)
    assert outcome.code == 0
    assert outcome.err.splitlines()[1:] == []
    assert outcome.err.startswith("next: ")
    number = {0: 0, 4: 1}.get(len(find_letters(["跑步走路"]).missing))
    assert number is None or outcome.out.count("no font is installed for letters of 2 class names") == number
    plot = re.search(r'id="plot-brightness"><img src="data:image/svg\+xml;base64,([^"]+)"', read_page(manifests))
    assert plot is not None
    assert "走路" in base64.b64decode(plot[1]).decode("utf-8")
