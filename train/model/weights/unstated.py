"""What a ViT's weights do not show: its heads, its activation, the mean and std that it expects. timm's own choices."""

from __future__ import annotations

from shared.errors import DataError
from train.model.config import PRESETS, Activation, BackboneShape, PerColour
from train.model.weights.files import Stated

MeanAndStd = tuple[PerColour, PerColour]

HALF: MeanAndStd = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET: MeanAndStd = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's and timm's constants
SAT_493M: MeanAndStd = ((0.43, 0.411, 0.296), (0.213, 0.156, 0.143))  # of DINOv3's satellite pictures
OPENAI: MeanAndStd = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))  # of CLIP's authors

# CLIP models of timm that were trained with QuickGELU though their architecture's name does not say so: the tag, and
# how the architecture's name begins. MetaCLIP's others and DFN's base model have GELU.
_QUICK_GELU: dict[str, str] = {
    "openai": "vit_",
    "dfn5b": "vit_",
    "metaclip_400m": "vit_",
    "metaclip_2pt5b": "vit_",
    "dfn2b": "vit_large_",
    "laion400m_e32": "vit_base_patch32_",
    "metaclip2_worldwide": "vit_huge_patch14_clip_224",
}
_OTHER_HEADS = {"vit_base_patch16_gap_224": 16}
_ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}


def usual_heads(source: str, dim: int, stated: Stated) -> tuple[int, str]:
    """The number of attention heads, and what settled it. Raises DataError where nothing does.

    timm's rule, which all its models that load here but one follow: 64 wide heads, and 16 of them from 1024 on. A width
    of 96 is that of tiny here, with 3.
    """
    if stated.num_heads:
        return stated.num_heads, f"{stated.num_heads} attention heads, as config.json says"
    name = stated.architecture.partition(".")[0]
    if name in _OTHER_HEADS:
        return _OTHER_HEADS[name], f"{_OTHER_HEADS[name]} attention heads, which {name} has (--num-heads)"
    heads, is_tiny = _heads_of_width(source, dim), dim == PRESETS["tiny"].embed_dim
    whose = "lsvit-train's tiny has" if is_tiny else f"timm's ViTs of width {dim} have"
    return heads, f"{heads} attention heads, as {whose} (--num-heads)"


def _heads_of_width(source: str, dim: int) -> int:
    for preset in PRESETS.values():
        if preset.embed_dim == dim:
            return preset.num_heads
    if dim < 192 or dim % 64:
        raise DataError(f"how many attention heads a ViT {dim} wide has does not show in {source}; give --num-heads")
    return min(dim // 64, 16)


def usual_activation(
    source: str, shape: BackboneShape, stated: Stated, *, num_positions: int
) -> tuple[Activation, str]:
    """The MLP's activation and, where the keys did not settle it, what did. Raises DataError where nothing does."""
    if stated.activation:
        if stated.activation not in _ACTIVATIONS:
            raise DataError(
                f"the MLPs of {source} use {stated.activation}, which this model has not; choose another --init"
            )
        return _ACTIVATIONS[stated.activation], f"activation {stated.activation}, as config.json says"
    name, _, tag = stated.architecture.partition(".")
    if shape.norm_pre:
        if "quickgelu" in name or ("_clip_" in name and tag in _QUICK_GELU and name.startswith(_QUICK_GELU[tag])):
            return "quick_gelu", f"activation quick_gelu, with which {stated.architecture} was trained (--activation)"
        if name.startswith("vit_") and "_clip_" in name:
            return "gelu", f"activation gelu, which {stated.architecture} has (--activation)"
        raise DataError(
            f"whether the MLPs of {source} use GELU or OpenAI's QuickGELU does not show in a CLIP's weights, and no "
            "config.json says it; give --activation gelu or --activation quick_gelu"
        )
    if not shape.class_token:  # SigLIP: of timm's models those of these shapes have the approximation
        is_large = shape.embed_dim in (1152, 1536) or (shape.embed_dim == 1024 and num_positions >= 1024)
        is_tanh = shape.patch_size == 32 or (shape.patch_size == 16 and is_large)
        activation: Activation = "gelu_tanh" if is_tanh else "gelu"
        return activation, f"activation {activation}, as timm's SigLIP of this shape has (--activation)"
    return "gelu", ""


def check_activation(source: str, given: str, known: str) -> None:
    """Raise DataError where the activation that is given contradicts the one that the weights come with, if any."""
    if known and given not in ("auto", known):
        raise DataError(
            f"--activation {given} does not fit the weights of {source}: their MLPs use {known}; leave it out"
        )


def usual_normalisation(shape: BackboneShape, stated: Stated, *, is_scaled: bool) -> tuple[PerColour, PerColour, str]:
    """Mean and standard deviation of the input, and why these, where the file does not say it."""
    if stated.mean is not None and stated.std is not None:
        return stated.mean, stated.std, ""
    name, _, tag = stated.architecture.partition(".")
    if shape.norm_pre and name.startswith("vit_large_patch14_clip") and tag.startswith("laion2b"):
        (mean, std), reason = HALF, f"0.5, which {stated.architecture} expects"
    elif shape.norm_pre:
        (mean, std), reason = OPENAI, "OpenAI's, which CLIP expects"
    elif "dinov3" in name and tag == "sat493m":
        (mean, std), reason = SAT_493M, "its satellite pictures', which DINOv3's sat493m expects"
    elif is_scaled:
        (mean, std), reason = IMAGENET, "ImageNet's, which DeiT-3, DINOv2 and DINOv3 expect"
    elif not shape.class_token:
        (mean, std), reason = HALF, "0.5, which SigLIP expects"
    else:
        (mean, std), reason = HALF, "0.5, which timm's ViTs (augreg) expect; DeiT, DINO and MAE expect imagenet"
    return mean, std, f"no config.json says what mean and std the weights expect: {reason} (--normalisation)"
