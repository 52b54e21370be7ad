"""In which precision a device computes."""

from __future__ import annotations

import torch

_AMP_DTYPES = {"none": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def half_precision(amp: str, device: torch.device) -> str:
    """none, fp16 or bf16: what --amp says, and for auto what suits the device.

    On CUDA that is bf16 where the chip has it, not emulated: as fast as fp16, but with the range of float32, so that no
    gradient overflows and none needs scaling (Kalamkar et al. 2019, "A Study of BFLOAT16 for Deep Learning Training").
    On the GPU of a Mac it is float32: half precision is there to be asked for, and no project of ours has measured it.
    """
    if amp != "auto":
        return amp
    if device.type != "cuda":
        return "none"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def answering_precision(amp: str, device: torch.device) -> str:
    """The same for a trained model that only answers: on the CPU float32, whatever it was trained in elsewhere."""
    return half_precision(amp, device) if device.type == "cuda" else "none"


def amp_dtype(precision: str) -> torch.dtype | None:
    """The type of autocast for none, fp16 or bf16; None without it."""
    return _AMP_DTYPES[precision]


def widest_float(device: torch.device) -> torch.dtype:
    """In what sums and probabilities are computed: float64; float32 on the GPU of a Mac, which has nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in ``widest_float`` of its device."""
    return tensor.to(widest_float(tensor.device))


def use_fast_products(device: torch.device) -> None:
    """Let products of float32 matrices use TF32 where the device is a GPU that has it."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def in_words(precision: str, device: torch.device) -> str:
    """Such as ``cuda:0 in bf16``, ``cuda:0 in float32 (products in TF32)`` or ``cpu in float32``."""
    if precision != "none":
        return f"{device} in {precision}"
    return f"{device} in float32" + (" (products in TF32)" if device.type == "cuda" else "")
