"""Model families: what a render needs of a model, and the registry that finds the family of a checkpoint.

A family is a package `indexd/generate/<family>/` whose `__init__` exposes one object `FAMILY`. Importing the package is cheap;
`load` imports what the family needs.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from PIL import Image

import indexd.generate
from indexd.errors import RenderFailed
from indexd.generate.diffusion.conditioning import TextConditioning
from indexd.generate.diffusion.guidance import ModelHook, TileableModel
from indexd.generate.sampling.noise_levels import NoiseLevels
from indexd.worker.calls import Render, WorkerSettings
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import EmbeddingRef, PromptSyntax

if TYPE_CHECKING:
    from indexd.generate.adapters.lora_adapters import ActivatedLoras, BundledEmbeddings, LoraRequest
    from indexd.generate.context import DenoiseTask


class LoraSwitch(Protocol):
    """The LoRAs of one loaded model."""

    def activate(self, requests: Sequence[LoraRequest]) -> ActivatedLoras:
        """Make exactly these LoRAs active. Raises RenderFailed; then none is active."""
        ...


class PromptEmbeddings(Protocol):
    """Textual-inversion embeddings of one render, in the family's form."""

    def cache_key(self) -> tuple[object, ...]:
        """What tells encoded texts with other embeddings apart."""
        ...


class RenderModel(ABC):
    """One loaded model. Latents are (1, `latent_channels`, height / `pixels_per_latent`, width / `pixels_per_latent`)."""

    family: str
    device: torch.device
    dtype_name: str
    model_hash: str
    latent_channels: int
    pixels_per_latent: int
    latent_dtype: torch.dtype
    levels: NoiseLevels
    loras: LoraSwitch

    @property
    def networks(self) -> Sequence[torch.nn.Module]:
        """The networks whose blocks take long; a render is cancelled between their blocks."""
        return ()

    @abstractmethod
    def encode_prompts(
        self,
        prompt: str,
        negative: str,
        *,
        guided: bool,
        clip_skip: int | None,
        syntax: PromptSyntax,
        embeddings: PromptEmbeddings | None,
    ) -> TextConditioning:
        """Texts in the family's form; the negative one only where `guided`. Active LoRAs apply."""

    @abstractmethod
    def denoiser(
        self,
        conditioning: TextConditioning,
        *,
        cfg: float,
        cfg_rescale: float,
        size: tuple[int, int],
        hooks: Sequence[ModelHook],
    ) -> TileableModel:
        """The model with guidance for an image of `size` (height, width) in pixels."""

    @abstractmethod
    def encode_image(self, image: Image.Image, rng: torch.Generator | None) -> torch.Tensor:
        """The clean latents of an RGB image whose sides are multiples of `pixels_per_latent`: a sample of the VAE's
        distribution, or without `rng` its mean."""

    @abstractmethod
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The pixels (1, 3, height, width) of clean latents, -1 to 1 and possibly beyond."""

    def mask_hooks(self, image: Image.Image, mask: Image.Image, latent_mask: torch.Tensor) -> Sequence[ModelHook]:
        """What shows the model the mask of an inpainting pass; none for a model that is not trained to see it.

        `image` and `mask` (white = painted anew) have the size of the pass, `latent_mask` is (1, 1, h, w).
        """
        del image, mask, latent_mask
        return ()

    def load_embeddings(
        self,
        references: Sequence[EmbeddingRef],
        paths: Mapping[str, str],
        *,
        bundled: BundledEmbeddings,
        pickle_allowed: bool,
    ) -> PromptEmbeddings:
        """The embeddings that the prompt names, and those that its LoRAs bring (`bundled`).

        Raises RenderFailed, also when a file has another hash.
        """
        del paths, pickle_allowed
        name = references[0].name if references else next(iter(bundled))
        raise RenderFailed(f"embedding {name}: models of family {self.family} take none")

    def with_vae(self, session: RenderSession, file: str) -> AbstractContextManager[tuple[RenderModel, str]]:
        """This model with the VAE of `file` while the context is open, and that file's hash. Raises RenderFailed."""
        del session
        raise RenderFailed(f"VAE {Path(file).name}: models of family {self.family} take no other VAE")

    def with_image_conditioning(self, call: Render, task: DenoiseTask) -> AbstractContextManager[DenoiseTask]:
        """The task with its controls and references while the context is open. Raises RenderFailed."""
        del call, task
        raise RenderFailed(f"models of family {self.family} take no control and no reference")


class ModelFamily(Protocol):
    """One family of models."""

    name: str

    def detect(self, path: Path) -> bool:
        """Whether the file or folder is a checkpoint of this family; reads names and sizes only, and raises nothing."""
        ...

    def load(self, path: Path, device: torch.device, dtype_name: str, settings: WorkerSettings) -> RenderModel:
        """The model on `device`. Raises RenderFailed with what does not fit, or whatever a library raises."""
        ...


_FAMILIES: dict[str, ModelFamily] = {}
_DEFAULT_FAMILY = "sdxl"


def register_family(family: ModelFamily) -> None:
    """Add a family. Raises ValueError when there is one of that name."""
    if family.name in _FAMILIES:
        raise ValueError(f"there are two model families {family.name!r}")
    _FAMILIES[family.name] = family


def families() -> Mapping[str, ModelFamily]:
    """All families by name: those of the folders of this package, and those registered."""
    for module in pkgutil.iter_modules(indexd.generate.__path__, "indexd.generate."):
        family = getattr(importlib.import_module(module.name), "FAMILY", None) if module.ispkg else None
        if family is not None and _FAMILIES.get(family.name) is not family:
            register_family(family)
    return _FAMILIES


def detect_family(path: Path) -> ModelFamily:
    """The family whose checkpoint lies at `path`. What none recognises is left to SDXL, whose error says what is missing."""
    known = families()
    return next((family for family in known.values() if family.detect(path)), known[_DEFAULT_FAMILY])
