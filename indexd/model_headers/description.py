"""What the header of a model file tells about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FileFormat = Literal["safetensors", "pickle", "gguf", "folder", "unknown"]

ModelKind = Literal[
    "checkpoint",
    "diffusion_model",
    "lora",
    "vae",
    "embedding",
    "controlnet",
    "ip_adapter",
    "upscaler",
    "text_encoder",
    "image_encoder",
    "unknown",
]
"""`checkpoint` has a diffusion model and text encoders; `diffusion_model` has no text encoders."""

DESCRIPTION_VERSION = 1
"""Raise it when the same header gives another description: descriptions on disk are made again then."""
TEXT_CHARACTERS_MAX = 300
"""No text in a description is longer."""

KIND_LABELS: dict[ModelKind, str] = {
    "checkpoint": "a checkpoint",
    "diffusion_model": "a diffusion model without text encoders",
    "lora": "a LoRA",
    "vae": "a VAE",
    "embedding": "an embedding",
    "controlnet": "a ControlNet",
    "ip_adapter": "an IP-Adapter",
    "upscaler": "an upscaler",
    "text_encoder": "a text encoder",
    "image_encoder": "an image encoder",
    "unknown": "a file of unknown contents",
}

FAMILY_LABELS: dict[str, str] = {
    "sd1": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sdxl": "SDXL",
    "sdxl-refiner": "the SDXL refiner",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux.1",
    "flux2": "Flux.2",
    "chroma": "Chroma",
    "z-image": "Z-Image",
    "lumina2": "Lumina 2",
    "qwen-image": "Qwen-Image",
    "anima": "Anima",
    "hidream": "HiDream",
    "hunyuan-image": "HunyuanImage",
    "auraflow": "AuraFlow",
    "cascade": "Stable Cascade",
    "pixart": "PixArt",
    "wan": "Wan",
    "transformer": "a diffusion transformer",
}
"""Names of the families that headers are recognised by."""
FAMILY_OF_TEXT_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}
"""The width of the texts that a UNet takes tells these families apart."""
CHANNEL_LABELS: dict[int | None, str] = {9: "inpainting", 8: "edit", 5: "depth"}
"""What the input channels of a UNet other than 4 mean."""


@dataclass(frozen=True, slots=True)
class LoraDescription:
    """`forms` are the kinds of its modules (lora, loha, lokr, dora, full, oft, …), `components` what it changes.

    `rank` is the most frequent rank, 0 where no module has one.
    """

    forms: tuple[str, ...]
    components: tuple[str, ...]
    rank: int
    modules: int


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model file by its header, without its weights. What the header does not tell is "" or None.

    `problem` says why the file cannot be read at all, as a predicate with a cure ("is empty; download it again").
    `channels` are the input channels of a diffusion model, or the latent channels of a VAE. `precision` is the number format
    of most weights; `quantization` names a packed form of them that indexd cannot read. `prediction` is epsilon, v or edm where
    the file states it.
    """

    format: FileFormat
    kind: ModelKind = "unknown"
    family: str = ""
    channels: int | None = None
    precision: str = ""
    prediction: str = ""
    zero_terminal_snr: bool = False
    has_vae: bool = False
    tensors: int = 0
    title: str = ""
    lora: LoraDescription | None = None
    vectors: int = 0
    control_types: int = 0
    quantization: str = ""
    problem: str = ""

    @property
    def family_label(self) -> str:
        """The family in words, "" where it is not known."""
        return FAMILY_LABELS.get(self.family, self.family)

    @property
    def summary(self) -> str:
        """One line for lists: family, kind, precision and what is particular."""
        words = [self.family_label, KIND_LABELS[self.kind].partition(" ")[2] if self.kind != "unknown" else ""]
        if self.lora is not None:
            forms = [form for form in self.lora.forms if form != "lora"]
            words += [f"({', '.join(forms)})" if forms else "", f"rank {self.lora.rank}" if self.lora.rank else ""]
        if self.kind in ("checkpoint", "diffusion_model") and self.channels in CHANNEL_LABELS:
            words.append(f"({CHANNEL_LABELS[self.channels]})")
        if self.prediction and self.prediction != "epsilon":
            words.append(f"{self.prediction} prediction")
        return " ".join(word for word in (*words, self.precision) if word)


def clip_text(text: object) -> str:
    """A text of a stranger's file as one bounded line."""
    return " ".join(str(text)[: 4 * TEXT_CHARACTERS_MAX].split())[:TEXT_CHARACTERS_MAX]
