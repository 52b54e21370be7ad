"""A handful of clips under official names of HMDB51, as its archive: real ones of J-HMDB where they are, else drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from media import REAL_JHMDB
from rar_writer import RarMember, write_rar4

from preprocess.synth.command import synthesize
from shared.splits.parts import official_splits
from train.model.config import ModelConfig
from train.model.lsvit import LSViT

CLASSES = ("sit", "stand", "walk")


def official_names() -> list[str]:
    """24 clips of three classes: two of a class test in each split and in no other, two test in none."""
    names = []
    for class_name in CLASSES:
        clips = {clip: asdict(parts) for clip, parts in official_splits().items() if clip.startswith(f"{class_name}/")}
        best_first = sorted(clips, key=lambda clip: (-list(clips[clip].values()).count("train"), not _is_real(clip)))
        for tested in ({"split1"}, {"split2"}, {"split3"}, set[str]()):
            names += [clip for clip in best_first if _splits_with(clips[clip], "test") == tested][:2]
    return names


def _splits_with(parts: Mapping[str, str], part: str) -> set[str]:
    return {split for split in ("split1", "split2", "split3") if parts[split] == part}


def _is_real(clip: str) -> bool:
    return (REAL_JHMDB / f"{clip}.avi").is_file()


def official_clips(folder: Path) -> dict[str, bytes]:
    """The content of these clips as ``<class>/<file>.avi``; drawn ones are rendered into a folder first."""
    synthesize(folder, num_clips=8, num_classes=4, difficulty="plain", seed=0, num_workers=2)
    content = {}
    for class_name in CLASSES:
        drawn = sorted((folder / class_name).glob("*"))
        assert drawn, class_name
        for index, clip in enumerate(name for name in official_names() if name.startswith(f"{class_name}/")):
            real = REAL_JHMDB / f"{clip}.avi"
            file = real if _is_real(clip) else drawn[index % len(drawn)]
            content[f"{clip}.avi"] = file.read_bytes()
    return content


def rar_of_rars(path: Path, content: dict[str, bytes]) -> Path:
    """Pack clips as the official archive does: an archive of one archive for each class."""
    inner = []
    for class_name in CLASSES:
        members = [
            RarMember(name=name, data=data) for name, data in content.items() if name.startswith(f"{class_name}/")
        ]
        file = write_rar4(path.with_name(f"{class_name}.rar"), members)
        inner.append(RarMember(name=file.name, data=file.read_bytes()))
        file.unlink()
    return write_rar4(path, inner)


def small_vit(path: Path) -> Path:
    """Weights of a plain ViT 96 wide with two blocks, random, under timm's names."""
    torch.manual_seed(0)
    config = ModelConfig(
        num_classes=3,
        image_size=32,
        num_frames=4,
        smif="none",
        lmi="none",
        patch_size=16,
        embed_dim=96,
        depth=2,
        num_heads=3,
    )
    torch.save(LSViT(config).backbone.state_dict(), path)
    return path
