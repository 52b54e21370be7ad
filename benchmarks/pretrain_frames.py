"""Pretrains a small ViT on the frames of shards, without labels: a source of weights where none can be downloaded.

    hmdb-prep extract --videos FOLDER --shards data/shards --size 112x152 --frames-per-segment 3
    OMP_NUM_THREADS=1 python -m benchmarks.pretrain_frames --shards data/shards --out data/pretrained
    lsvit-train run --init data/pretrained/model.safetensors

A masked autoencoder (He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners"): three quarters of the patches
of a frame are hidden, the ViT sees the others, and a light decoder says what was hidden. `model.safetensors` has timm's
names, and `config.json` beside it says which mean and standard deviation the weights expect. A run that was killed
goes on from `state.pt`; `losses.csv` holds the loss. Labels and splits are not looked at: frames of test clips are
learnt from too, which has to be said beside every figure made with these weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from shared.errors import DataError
from shared.files import whole_file, write_bytes, write_csv, write_text
from shared.shards.reader import ShardReader
from train.data.augment import AugmentSettings, Statistics, augment, draw_changes
from train.data.seeds import Purpose, generator, torch_seed
from train.learn.optimizer import Schedule, make_optimizer, set_rate
from train.model.config import BackboneShape, ModelConfig, make_config
from train.model.lsvit import START_STD, Backbone
from train.model.vit import Block, initialise
from train.model.weights.unstated import HALF

CROP = AugmentSettings(scale=(0.2, 1.0))  # the paper's area of the random crop; mirroring as there
SPARE = 1e-6  # added to a variance before its root is divided by, as in the paper's code


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What settles the weights, beside the frames. Saved; a run goes on only with the same."""

    preset: str
    image_size: int
    """Pixels of a side."""
    decoder_dim: int
    """Width of the decoder's one block."""
    hidden: float
    """Share of the patches that the ViT does not see."""
    steps: int
    """0 gives the start values: a control for whatever is made of the weights."""
    warmup_steps: int
    batch_size: int
    """Frames of a step."""
    lr: float
    """The highest learning rate, after the warm-up."""
    seed: int


class StoredFrames:
    """Every stored frame of some folders of shards, of one size, in order. Raises DataError where there is none."""

    def __init__(self, folders: Sequence[Path]) -> None:
        files = [file for folder in folders for file in sorted(folder.glob("*.h5"))]
        self._readers = [ShardReader(file) for file in files]
        sizes = {(reader.layout.height, reader.layout.width) for reader in self._readers}
        if len(sizes) != 1:
            named = ", ".join(map(str, folders))
            raise DataError(f"frames of {named} have {len(sizes)} sizes, not one; extract all with the same --size")
        self.height, self.width = sizes.pop()
        self.dataset_ids = sorted({reader.layout.dataset_id for reader in self._readers})
        self._ends = np.cumsum([reader.num_clips * reader.layout.num_rows for reader in self._readers])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, chosen: npt.NDArray[np.int64]) -> Tensor:
        """Some frames by number, in [0, len): uint8 (n, H, W, 3)."""
        frames = np.empty((len(chosen), self.height, self.width, 3), np.uint8)
        for place, number in enumerate(chosen):
            shard = int(np.searchsorted(self._ends, number, side="right"))
            reader = self._readers[shard]
            row, frame = divmod(int(number - self._ends[shard]), reader.layout.num_rows)  # counted from the shard's end
            frames[place] = reader.frames[row, frame]
        return torch.from_numpy(frames)


class MaskedAutoencoder(nn.Module):
    """A ViT that sees some patches of a frame, and a decoder of one block that says what the others are."""

    def __init__(self, config: ModelConfig, *, decoder_dim: int) -> None:
        super().__init__()
        dim, side = config.embed_dim, config.image_size // config.patch_size
        self.backbone = Backbone(config)
        self.to_decoder = nn.Linear(dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.decoder_positions = nn.Parameter(waves(side, decoder_dim), requires_grad=False)
        self.decoder = Block(
            BackboneShape(embed_dim=decoder_dim, depth=1, num_heads=decoder_dim // 16), num_frames=config.num_frames
        )
        self.decoder_norm = nn.LayerNorm(decoder_dim)
        self.to_pixels = nn.Linear(decoder_dim, 3 * config.patch_size**2)
        self.apply(initialise)
        assert self.backbone.pos_embed is not None and self.backbone.cls_token is not None
        with torch.no_grad():
            self.backbone.pos_embed.copy_(waves(side, dim))
        nn.init.normal_(self.backbone.cls_token, std=START_STD)
        nn.init.normal_(self.mask_token, std=START_STD)

    def forward(self, images: Tensor, order: Tensor, *, num_seen: int) -> Tensor:
        """Normalised images (n, 3, S, S) -> what every patch is, from the first num_seen of order: (n, N, 3·P²).

        order: (n, N), the patches of each image in an order of its own.
        """
        seen = self._encode(images, order[:, :num_seen])
        patches = torch.cat([seen[:, 1:], self.mask_token.expand(len(order), order.shape[1] - num_seen, -1)], dim=1)
        in_place = patches.gather(1, _wide(order.argsort(dim=1), patches.shape[-1]))
        tokens = torch.cat([seen[:, :1], in_place], dim=1) + self.decoder_positions
        pixels: Tensor = self.to_pixels(self.decoder_norm(self.decoder(tokens)[:, 1:]))
        return pixels

    def _encode(self, images: Tensor, seen: Tensor) -> Tensor:
        """CLS and the patches that are seen, in the decoder's width: (n, 1 + num_seen, decoder_dim)."""
        tokens = self.backbone.embed(images)
        patches = tokens[:, 1:].gather(1, _wide(seen, tokens.shape[-1]))
        x = torch.cat([tokens[:, :1], patches], dim=1)
        for block in self.backbone.blocks:
            x = block(x)
        encoded: Tensor = self.to_decoder(self.backbone.norm(x))
        return encoded


def waves(side: int, dim: int) -> Tensor:
    """Positions of CLS (zeros) and of side² patches, (1, 1 + side², dim): sines and cosines of column and row.

    As in the paper's code: a quarter of the numbers each, of wave lengths 2π·10000^(4i/dim).
    """
    rates = 10000.0 ** (-torch.arange(dim // 4) / (dim // 4))
    angles = torch.arange(side)[:, None] * rates
    columns, rows = angles.repeat(side, 1), angles.repeat_interleave(side, dim=0)
    patches = torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], dim=1)
    return torch.cat([torch.zeros(1, dim), patches])[None]


def patch_targets(images: Tensor, patch: int) -> Tensor:
    """The pixels of each patch, less their mean and divided by their deviation: (n, 3, S, S) -> (n, N, 3·P²)."""
    pixels = torch.nn.functional.unfold(images, patch, stride=patch).transpose(1, 2)
    return (pixels - pixels.mean(dim=2, keepdim=True)) / (pixels.var(dim=2, keepdim=True) + SPARE).sqrt()


def hidden_loss(model: MaskedAutoencoder, images: Tensor, order: Tensor, *, num_seen: int, patch: int) -> Tensor:
    """Mean squared error of the hidden patches' pixels; guessing their mean gives 1."""
    error = (model(images, order, num_seen=num_seen) - patch_targets(images, patch)).square().mean(dim=2)
    return error.gather(1, order[:, num_seen:]).mean()


def _wide(places: Tensor, dim: int) -> Tensor:
    """Places (n, m) as `gather` wants them for vectors: (n, m, dim)."""
    return places[:, :, None].expand(-1, -1, dim)


def draw_images(frames: StoredFrames, settings: Pretraining, step: int) -> Tensor:
    """The crops of one step, each frame with its own: float32 (n, 3, S, S), normalised. A function of seed and step."""
    number = settings.batch_size
    chosen = generator(Purpose.ORDER, settings.seed, step).integers(0, len(frames), number)
    same = np.ones(number)  # every frame as bright as every other: light and colour stay as they are
    statistics = Statistics(brightness=same, contrast=same, blur=same, colorfulness=same)
    changes = draw_changes(
        statistics,
        training=statistics,
        strength=same,
        settings=CROP,
        height=frames.height,
        width=frames.width,
        rng=generator(Purpose.AUGMENT, settings.seed, step),
    )
    video = augment(frames.read(chosen)[:, None], changes, image_size=settings.image_size)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in HALF)
    return (video[:, 0] - mean) / std


def pretrain(frames: StoredFrames, settings: Pretraining, out: Path, *, save_every: int) -> None:
    """Train to the last step and save; goes on from what a killed run left in ``out``."""
    torch.manual_seed(torch_seed(Purpose.WEIGHTS, settings.seed))
    config = make_config(
        settings.preset, num_classes=1, num_frames=1, image_size=settings.image_size, smif="none", lmi="none"
    )
    config = replace(config, mean=HALF[0], std=HALF[1])
    model = MaskedAutoencoder(config, decoder_dim=settings.decoder_dim)
    optimizer = make_optimizer(model, weight_decay=0.05, layer_decay=1.0)
    schedule = Schedule(peak=settings.lr, least=0.0, warmup_steps=settings.warmup_steps, num_steps=settings.steps)
    facts = {"settings": dict(vars(settings)), "dataset_ids": frames.dataset_ids}
    losses = resume(model, optimizer, facts, out / "state.pt")
    num_patches = config.num_tokens - 1
    num_seen = round(num_patches * (1 - settings.hidden))
    began, first = time.perf_counter(), len(losses)
    if not settings.steps:
        save(model, optimizer, facts, losses, out)
    for step in range(first, settings.steps):
        masks = torch.Generator().manual_seed(torch_seed(Purpose.MIX, settings.seed, step))
        order = torch.rand(settings.batch_size, num_patches, generator=masks).argsort(dim=1)
        images = draw_images(frames, settings, step)
        loss = hidden_loss(model, images, order, num_seen=num_seen, patch=config.patch_size)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        set_rate(optimizer, schedule.rate(step))
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % save_every == 0 or step + 1 == settings.steps:
            rate = (step + 1 - first) * settings.batch_size / (time.perf_counter() - began)
            recent = float(np.mean(losses[-save_every:]))
            print(f"step {step + 1}/{settings.steps}: loss {recent:.4f}, {rate:.0f} frames/s", flush=True)
            save(model, optimizer, facts, losses, out)


def resume(model: nn.Module, optimizer: torch.optim.Optimizer, facts: Mapping[str, object], file: Path) -> list[float]:
    """Take up the state of a killed run, where there is one; the losses so far.

    facts: the settings and the dataset_ids of the shards. Raises DataError where the run was begun with others.
    """
    if not file.exists():
        return []
    state = torch.load(file, weights_only=True)
    if changed := [f"{name} {state[name]}" for name, value in facts.items() if state.get(name, value) != value]:
        raise DataError(f"{file} was made with {', '.join(changed)}; name another --out, or remove it to begin anew")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return list(state["losses"])


def save(
    model: MaskedAutoencoder,
    optimizer: torch.optim.Optimizer,
    facts: Mapping[str, object],
    losses: Sequence[float],
    out: Path,
) -> None:
    """The state to go on from, the weights of the ViT alone with what they expect, and the losses."""
    with whole_file(out / "state.pt") as temporary:
        states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**facts, "losses": list(losses), **states}, temporary)
    weights = {name: tensor.contiguous() for name, tensor in model.backbone.state_dict().items()}
    write_bytes(out / "model.safetensors", to_bytes(weights))
    write_text(out / "config.json", json.dumps({"pretrained_cfg": {"mean": HALF[0], "std": HALF[1]}}) + "\n")
    write_csv(out / "losses.csv", ("step", "loss"), enumerate(losses, start=1))


def main() -> None:
    """Read the options and pretrain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, nargs="+", default=[Path("data/shards")], help="folders of one size")
    parser.add_argument("--out", type=Path, default=Path("data/pretrained"))
    parser.add_argument("--save-every", type=int, default=250, help="steps")
    parser.add_argument("--preset", default="tiny", choices=("tiny", "small", "base"))
    parser.add_argument("--image-size", type=int, default=80)
    parser.add_argument("--decoder-dim", type=int, default=64, help="a multiple of 16")
    parser.add_argument("--hidden", type=float, default=0.75, help="share of the patches")
    parser.add_argument("--steps", type=int, default=6000, help="0: random weights, as a control")
    parser.add_argument("--warmup-steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=256, help="frames")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = vars(parser.parse_args())
    shards, out, save_every = (given.pop(name) for name in ("shards", "out", "save_every"))
    frames = StoredFrames(shards)
    print(f"{len(frames)} frames of {frames.height}x{frames.width}")
    pretrain(frames, Pretraining(**given), out, save_every=save_every)
    print(f"weights: {out / 'model.safetensors'}")


if __name__ == "__main__":
    main()
