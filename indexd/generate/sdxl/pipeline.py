"""A loaded SDXL model: diffusers modules, text encoders and LoRAs, as a render uses them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from transformers import CLIPTextModel, CLIPTextModelWithProjection
from transformers.utils import logging as transformers_logging

from indexd.errors import RenderFailed
from indexd.generate.adapters.lora_adapters import BundledEmbeddings, LoraAdapters
from indexd.generate.diffusion.conditioning import TextConditioning
from indexd.generate.diffusion.guidance import ModelHook
from indexd.generate.family import PromptEmbeddings, RenderModel
from indexd.generate.finite_weights import raise_if_not_finite
from indexd.generate.sampling.noise_levels import TrainedNoise, noise_levels_for
from indexd.generate.sdxl.guided_unet import GuidedUnet
from indexd.generate.sdxl.inpaint_channels import (
    GREY_SIDE_PX,
    INPAINT_CHANNELS,
    InpaintChannels,
    blank_channels,
    hide_masked,
)
from indexd.generate.sdxl.single_file import LoadedCheckpoint, check_channels, load_single_file
from indexd.generate.sdxl.text_encoding import TextEncoders
from indexd.generate.sdxl.textual_inversion import (
    NO_TEXTUAL_INVERSIONS,
    TextualInversions,
    bundled_inversions,
    load_verified_embeddings,
)
from indexd.models.device import FP8, torch_dtype
from indexd.models.model_identity import model_identity, short_hash
from indexd.worker.calls import GENERATOR, Render, WorkerSettings
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import EmbeddingRef, PromptSyntax

if TYPE_CHECKING:
    from indexd.generate.context import DenoiseTask

FAMILY_NAME = "sdxl"
_MODULE_CLASSES: Mapping[str, Any] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
_MODULE_NAMES = tuple(_MODULE_CLASSES)
# `model.fp16.safetensors`, `diffusion_pytorch_model.fp16-00001-of-00002.safetensors`, `model-00001-of-00002.fp16.safetensors`.
_WEIGHTS_NAME = re.compile(r"(?:diffusion_pytorch_)?model(?:\.(\w+))?(?:-\d+-of-\d+)?(?:\.(\w+))?\.safetensors")
_VARIANTS = ("fp16", "bf16", "fp32")


class SdxlModel(RenderModel):
    """One loaded SDXL model around a diffusers pipeline. The VAE is float32 where half precision would overflow it."""

    family = FAMILY_NAME
    loras: LoraAdapters

    def __init__(
        self, loaded: LoadedCheckpoint, device: torch.device, dtype_name: str, model_hash: str, name: str
    ) -> None:
        self.pipeline = pipeline = loaded.pipeline
        self.name = name
        self.has_vae = loaded.has_vae
        self.device = device
        self.dtype_name = dtype_name
        self.model_hash = model_hash
        self.encoders = TextEncoders(pipeline)
        self.loras = LoraAdapters(pipeline)
        self.trained_noise = loaded.noise
        self.levels = noise_levels_for(loaded.noise)
        self._blank_by_vae: WeakKeyDictionary[Any, torch.Tensor] = WeakKeyDictionary()
        self.latent_channels = pipeline.vae.config.latent_channels
        self.pixels_per_latent = pipeline.vae_scale_factor
        self.is_inpainting_model = pipeline.unet.config.in_channels == INPAINT_CHANNELS

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        """UNet and VAE."""
        return self.pipeline.unet, self.pipeline.vae

    @property
    def latent_dtype(self) -> torch.dtype:
        """The UNet's number format."""
        dtype: torch.dtype = self.pipeline.unet.dtype
        return dtype

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
        """Texts through both encoders."""
        assert embeddings is None or isinstance(embeddings, TextualInversions)
        return self.encoders.build_conditioning(
            prompt,
            negative,
            guided=guided,
            clip_skip=clip_skip,
            adapters=self.loras.active_text_weights(),
            syntax=syntax,
            embeddings=embeddings or NO_TEXTUAL_INVERSIONS,
        )

    def denoiser(
        self,
        conditioning: TextConditioning,
        *,
        cfg: float,
        cfg_rescale: float,
        size: tuple[int, int],
        hooks: Sequence[ModelHook],
    ) -> GuidedUnet:
        """The guided UNet."""
        blank = self._blank_channels() if self.is_inpainting_model else None
        return GuidedUnet(self.pipeline.unet, conditioning, cfg, cfg_rescale, size, tuple(hooks), blank)

    def encode_image(self, image: Image.Image, rng: torch.Generator | None) -> torch.Tensor:
        """In the UNet's scale and number format."""
        return self._encode(self._to_pixels(image), rng)

    def mask_hooks(self, image: Image.Image, mask: Image.Image, latent_mask: torch.Tensor) -> Sequence[ModelHook]:
        """For an inpainting model the mask and the masked image, the mean of the VAE's distribution."""
        if not self.is_inpainting_model:
            return ()
        masked = self._encode(hide_masked(self._to_pixels(image), mask), None)
        return (InpaintChannels(torch.cat([latent_mask.to(masked), masked], dim=1)),)

    def _blank_channels(self) -> torch.Tensor:
        vae = self._require_vae()
        known = self._blank_by_vae.get(vae)
        if known is None:
            grey = torch.zeros(1, 3, GREY_SIDE_PX, GREY_SIDE_PX, device=self.device, dtype=vae.dtype)
            known = self._blank_by_vae[vae] = blank_channels(self._encode(grey, None))
        return known

    def _to_pixels(self, image: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = self.pipeline.image_processor.preprocess(image)
        return pixels.to(device=self.device, dtype=self._require_vae().dtype)

    def _encode(self, pixels: torch.Tensor, rng: torch.Generator | None) -> torch.Tensor:
        """Latents of pixels (1, 3, height, width): a sample of the VAE's distribution, its mean without `rng`."""
        vae = self._require_vae()
        with torch.no_grad():
            distribution = vae.encode(pixels).latent_dist
        latents: torch.Tensor = distribution.mode() if rng is None else distribution.sample(rng)
        latents = latents.to(self.latent_dtype)
        offset, spread = _latent_statistics(vae, latents)
        return (latents - offset) * (vae.config.scaling_factor / spread)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Through the VAE, in its number format."""
        vae = self._require_vae()
        latents = latents.to(vae.dtype)
        offset, spread = _latent_statistics(vae, latents)
        with torch.no_grad():
            decoded: torch.Tensor = vae.decode(
                latents * (spread / vae.config.scaling_factor) + offset, return_dict=False
            )[0]
        return decoded

    def _require_vae(self) -> Any:
        if not self.has_vae:
            raise RenderFailed(f"checkpoint {self.name} has no VAE; name one with `vae:`")
        return self.pipeline.vae

    def load_embeddings(
        self,
        references: Sequence[EmbeddingRef],
        paths: Mapping[str, str],
        *,
        bundled: BundledEmbeddings,
        pickle_allowed: bool,
    ) -> TextualInversions:
        """Textual inversions with vectors for both encoders. A file that the recipe names hides a bundled one of its name."""
        named = load_verified_embeddings(references, paths, self.encoders.widths, pickle_allowed=pickle_allowed)
        return TextualInversions(bundled_inversions(bundled) | named.by_word)

    @contextmanager
    def with_vae(self, session: RenderSession, file: str) -> Iterator[tuple[RenderModel, str]]:
        """The same modules around another VAE."""
        from indexd.generate.sdxl.vae import lease_vae

        with lease_vae(session, self, file) as vae:
            model = SdxlModel.__new__(SdxlModel)
            model.__dict__.update(self.__dict__)
            model.has_vae = True
            model.pipeline = build_pipeline({**self.pipeline.components, "vae": vae.module}, self.pipeline.config)
            yield model, vae.hash

    def with_image_conditioning(self, call: Render, task: DenoiseTask) -> AbstractContextManager[DenoiseTask]:
        """ControlNets and IP-Adapters on the UNet."""
        from indexd.generate.sdxl.image_conditioning import attach_image_conditioning

        return attach_image_conditioning(call, task)


def load_model(path: Path, device: torch.device, dtype_name: str, settings: WorkerSettings) -> SdxlModel:
    """The model of a diffusers folder or a single file. Raises RenderFailed, or what diffusers raises."""
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    dtype = torch_dtype(dtype_name)
    if path.is_dir():
        loaded = _load_folder(path, dtype)
    else:
        loaded = load_single_file(
            path, dtype, pickle_allowed=settings.pickle_checkpoints, scratch_folder=settings.cache_folder
        )
    pipeline = loaded.pipeline
    _check_complete(pipeline, path)
    pipeline.to(device)
    _check_finite(pipeline, path)
    if pipeline.vae.config.force_upcast and pipeline.vae.dtype != torch.float32:
        # What diffusers does for each decode, done once: SDXL's own VAE overflows in half precision.
        pipeline.vae.to(torch.float32)
    for module in _modules(pipeline).values():
        # torch chooses between mm and bmm by requires_grad, and peft turns it off for the layers that it wraps:
        # without this, a render after the first LoRA would run other kernels than the one before it.
        module.requires_grad_(False)
    if dtype_name == FP8:
        # Norms stay in the computing format. Casting back is exact: what was stored in eight bits fits there again.
        pipeline.unet.enable_layerwise_casting(torch.float8_e4m3fn, compute_dtype=dtype)
    return SdxlModel(loaded, device, dtype_name, _model_hash(path, settings.cache_folder), path.name)


def build_pipeline(components: Mapping[str, Any], config: Any) -> Any:
    """A pipeline around modules that others share. Not `from_pipe`, which casts them to float32."""
    return StableDiffusionXLPipeline(
        **components, force_zeros_for_empty_prompt=config.force_zeros_for_empty_prompt, add_watermarker=False
    )


def _load_folder(path: Path, dtype: torch.dtype) -> LoadedCheckpoint:
    """Each module in the variant that the folder has of it: published folders mix them."""
    listed = json.loads((path / "model_index.json").read_text("utf-8"))
    modules = {
        name: _MODULE_CLASSES[name].from_pretrained(
            str(path / name),
            variant=_find_variant(path / name),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
        )
        for name in _MODULE_NAMES
        if (listed.get(name) or [None])[0] is not None
    }
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        str(path), dtype=dtype, use_safetensors=True, local_files_only=True, add_watermarker=False, **modules
    )
    return LoadedCheckpoint(pipeline, TrainedNoise.from_config(pipeline.scheduler.config), has_vae=True)


def _find_variant(folder: Path) -> str | None:
    """The variant in the names of a module's weights; None = the plain ones, which come first, then fp16."""
    found = {
        match[1] or match[2] for file in folder.glob("*.safetensors") if (match := _WEIGHTS_NAME.fullmatch(file.name))
    }
    if not found or None in found:
        return None
    return min(
        found, key=lambda variant: (_VARIANTS.index(variant) if variant in _VARIANTS else len(_VARIANTS), variant)
    )


def _modules(pipeline: Any) -> dict[str, torch.nn.Module]:
    return {name: getattr(pipeline, name) for name in _MODULE_NAMES}


def _check_complete(pipeline: Any, path: Path) -> None:
    """Raises RenderFailed in one sentence for what diffusers would fail on later, or not at all."""
    for name in _MODULE_NAMES:
        module = getattr(pipeline, name, None)
        if module is None:
            raise RenderFailed(f"checkpoint {path.name} is no SDXL model: it has no {name}")
        missing = [key for key, weight in module.state_dict().items() if weight.is_meta]
        if missing:
            raise RenderFailed(
                f"checkpoint {path.name} is incomplete: {name} has no {missing[0]}"
                f"{f' and {len(missing) - 1} other tensors' if len(missing) > 1 else ''}; copy the file again"
            )
    check_channels(path.name, pipeline.unet.config.in_channels)


def _check_finite(pipeline: Any, path: Path) -> None:
    """Raises RenderFailed for weights that are no numbers."""
    for name, module in _modules(pipeline).items():
        raise_if_not_finite(f"checkpoint {path.name}", module.state_dict(), name)


def _model_hash(path: Path, cache_folder: str) -> str:
    """A1111's model hash: ten digits of the SHA-256, for a folder of the hashes of its weights."""
    if path.is_file():
        return short_hash(path, cache_folder)
    return model_identity(GENERATOR, 1, path.glob("*/*.safetensors"), path, cache_folder).rpartition("/")[2][:10]


def _latent_statistics(vae: Any, latents: torch.Tensor) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    """Mean and spread of the VAE's latents by channel where its configuration states them, else 0 and 1."""
    mean, deviation = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or deviation is None:
        return 0.0, 1.0
    shape = (1, latents.shape[1], 1, 1)
    return (
        torch.tensor(mean, device=latents.device, dtype=latents.dtype).view(shape),
        torch.tensor(deviation, device=latents.device, dtype=latents.dtype).view(shape),
    )
