"""IP-Adapters: adapters and image encoders from disk, and the UNet's attention processors while they are installed.

The UNet is shared by all renders. Its attention processors are exchanged for the time of one render and put back, the
very same objects, so that the base is what it was bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from indexd.errors import IndexdError, RenderFailed
from indexd.generate.finite_weights import raise_if_not_finite
from indexd.generate.sdxl.guided_unet import UnetCall
from indexd.generate.sdxl.pipeline import SdxlModel
from indexd.models.device import is_out_of_memory
from indexd.models.model_identity import short_hash
from indexd.worker.session import RenderSession

log = logging.getLogger(__name__)

IP_ADAPTER_ROLE = "ip-adapter"
IMAGE_ENCODER_ROLE = "ip-adapter image encoder"
_ENCODER_FOLDER = "image_encoder"


@dataclass(frozen=True, slots=True)
class IPAdapter:
    """A loaded IP-Adapter: for each cross attention its keys and values, and what makes tokens of an embedding.

    `width` is the length of the vectors that it takes; `is_plain`: it takes one vector an image, not one a patch.
    """

    attention: Mapping[str, tuple[torch.nn.Module, torch.nn.Module]]
    projection: Any
    token_count: int
    embedding_width: int
    is_plain: bool
    hash: str


@dataclass(frozen=True, slots=True)
class ClipImageEncoder:
    """A CLIP image encoder with the sizes that adapters need to match."""

    model: Any
    processor: Any

    def embed(self, image: Image.Image, is_plain: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The embedding of an RGB image and that of no image (1, 1, …), as IP-Adapters were trained."""
        pixels = self.processor(image, return_tensors="pt").pixel_values.to(self.model.device, self.model.dtype)
        with torch.no_grad():
            if is_plain:
                vector = self.model(pixels).image_embeds
                return vector[None], torch.zeros_like(vector)[None]
            embedding, empty = (
                self.model(each, output_hidden_states=True).hidden_states[-2] for each in (pixels, pixels * 0)
            )
        return embedding[None], empty[None]


@dataclass(frozen=True, slots=True)
class ImageReference:
    """One image, embedded for one adapter."""

    adapter: IPAdapter
    embedding: torch.Tensor
    zero_embedding: torch.Tensor
    weight: float


@dataclass(frozen=True, slots=True)
class IPAdapterHook:
    """Adds the image embeddings to the UNet's call; the negative row gets the empty ones."""

    references: Sequence[ImageReference]

    def apply(self, call: UnetCall) -> None:
        """Adds one list of embeddings a reference, in the order of the attention's slots."""
        rows = len(call.latents)
        for one in self.references:
            each = [one.zero_embedding if call.guided and row == 0 else one.embedding for row in range(rows)]
            call.image_embeds.append(torch.cat(each))


@contextmanager
def install_ip_adapters(unet: Any, references: Sequence[ImageReference]) -> Iterator[None]:
    """Install the adapters in the UNet's attention until the context is left; without references empty changes.

    While they are installed, every evaluation needs their embeddings (`IPAdapterHook`).
    """
    if not references:
        yield
        return
    before = dict(unet.attn_processors)
    kind, projection = unet.config.encoder_hid_dim_type, unet.encoder_hid_proj
    try:
        unet.set_attn_processor({name: _attention_processor(name, old, references) for name, old in before.items()})
        unet.encoder_hid_proj = MultiIPAdapterImageProjection([one.adapter.projection for one in references])
        unet.config.encoder_hid_dim_type = "ip_image_proj"
        yield
    finally:
        # In this order: while a resampler (IP-Adapter Plus) is attached, diffusers counts its attention as the UNet's.
        unet.encoder_hid_proj = projection
        unet.set_attn_processor(before)
        unet.config.encoder_hid_dim_type = kind


def lease_ip_adapter(
    session: RenderSession, model: SdxlModel, name: str, file: str
) -> AbstractContextManager[IPAdapter]:
    """The IP-Adapter of a file in diffusers' layout, in the number format of `model`. Raises RenderFailed."""
    path, unet = Path(file), model.pipeline.unet
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise RenderFailed(f"IP-Adapter {name} cannot be read: {error.strerror}") from error
    key = f"{IP_ADAPTER_ROLE}|{path}|{stamp}|{model.model_hash}|{model.device}|{unet.dtype}"
    load = partial(_load_ip_adapter, path, name, unet, session.settings.cache_folder)
    return session.pool.lease(IP_ADAPTER_ROLE, key, load, session.settings.control.keep_alive_seconds)


def lease_image_encoder(
    session: RenderSession, model: SdxlModel, name: str, file: str, adapter: IPAdapter
) -> AbstractContextManager[ClipImageEncoder]:
    """The image encoder that fits an adapter, from a folder beside it or the settings'. Raises RenderFailed."""
    folder = _find_encoder_folder(Path(file), adapter, session.settings.control.image_encoder, name)
    dtype = model.pipeline.unet.dtype
    key = f"{IMAGE_ENCODER_ROLE}|{folder}|{model.device}|{dtype}"
    load = partial(_load_image_encoder, folder, model.device, dtype)
    return session.pool.lease(IMAGE_ENCODER_ROLE, key, load, session.settings.control.keep_alive_seconds)


def _attention_processor(name: str, old: Any, references: Sequence[ImageReference]) -> Any:
    pairs = [one.adapter.attention.get(name) for one in references]
    if any(pair is None for pair in pairs):  # self attention
        return old
    with torch.device("meta"):  # the layers are the adapters' own
        made = IPAdapterAttnProcessor2_0(
            1, 1, num_tokens=[one.adapter.token_count for one in references], scale=[one.weight for one in references]
        )
    made.to_k_ip = torch.nn.ModuleList(pair[0] for pair in pairs if pair is not None)
    made.to_v_ip = torch.nn.ModuleList(pair[1] for pair in pairs if pair is not None)
    return made


def _load_ip_adapter(path: Path, name: str, unet: Any, cache_folder: str) -> IPAdapter:
    try:
        weights = load_file(path)
        raise_if_not_finite(f"IP-Adapter {name}", weights)
        parts = _split_weights(weights, name)
        projection = unet._convert_ip_adapter_image_proj_to_diffusers(parts["image_proj"], low_cpu_mem_usage=False)
        processors = unet._convert_ip_adapter_attn_to_diffusers([parts], low_cpu_mem_usage=False)
        attention = {}
        tokens = 0
        for place, processor in processors.items():
            if hasattr(processor, "to_k_ip"):
                processor.to(unet.device, unet.dtype).requires_grad_(False)
                attention[place] = (processor.to_k_ip[0], processor.to_v_ip[0])
                [tokens] = processor.num_tokens
        projection.to(unet.device, unet.dtype).eval().requires_grad_(False)
    except IndexdError:
        raise
    except (OSError, SafetensorError) as error:
        raise RenderFailed(f"IP-Adapter {name} cannot be read: {error}; the file may be half copied") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.exception("loading %s", path)
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RenderFailed(f"IP-Adapter {name} does not fit this model: {first[:200]}; take one for SDXL") from error
    plain = isinstance(projection, ImageProjection)
    width = parts["image_proj"]["proj.weight" if plain else "proj_in.weight"].shape[1]
    return IPAdapter(attention, projection, tokens, width, plain, short_hash(path, cache_folder))


def _split_weights(weights: Mapping[str, torch.Tensor], name: str) -> dict[str, dict[str, torch.Tensor]]:
    """The two halves of a file, as diffusers takes them."""
    parts: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, weight in weights.items():
        half, _, rest = key.partition(".")
        if half in parts:
            parts[half][rest] = weight
    projection = parts["image_proj"]
    if not projection or not parts["ip_adapter"]:
        raise RenderFailed(f"IP-Adapter {name} is no IP-Adapter: its weights are not named image_proj and ip_adapter")
    if not {"proj.weight", "latents"} & projection.keys() or any("lora" in key for key in parts["ip_adapter"]):
        raise RenderFailed(
            f"IP-Adapter {name} is one for faces, which needs embeddings that are not made here; "
            "take a plain or a plus IP-Adapter for SDXL"
        )
    return parts


def _find_encoder_folder(file: Path, adapter: IPAdapter, setting: str, name: str) -> Path:
    """The first folder with an encoder of the right width: beside the file, where the hub's layout has it, the setting's."""
    beside = (
        file.with_suffix(f".{_ENCODER_FOLDER}"),
        file.parent / _ENCODER_FOLDER,
        file.parent.parent / "models" / _ENCODER_FOLDER,
    )
    candidates = [*beside, file.parent.parent / _ENCODER_FOLDER, *([Path(setting)] if setting else [])]
    widths = {}
    for folder in candidates:
        if (folder / "config.json").is_file():
            config = CLIPVisionModelWithProjection.config_class.from_pretrained(folder, local_files_only=True)
            widths[folder] = config.projection_dim if adapter.is_plain else config.hidden_size
            if widths[folder] == adapter.embedding_width:
                return folder
    if widths:
        found = ", ".join(f"{folder} has {width}" for folder, width in widths.items())
        raise RenderFailed(f"IP-Adapter {name} needs an image encoder of width {adapter.embedding_width}; {found}")
    raise RenderFailed(
        f"IP-Adapter {name} has no image encoder: put its folder {_ENCODER_FOLDER!r} beside the file, "
        "or name it with [control] image_encoder in the settings"
    )


def _load_image_encoder(folder: Path, device: torch.device, dtype: torch.dtype) -> ClipImageEncoder:
    try:
        model = CLIPVisionModelWithProjection.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.exception("loading %s", folder)
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RenderFailed(f"the image encoder {folder} cannot be loaded: {first[:300]}") from error
    model.to(device).eval().requires_grad_(False)
    side = model.config.image_size
    return ClipImageEncoder(model, CLIPImageProcessor(size=side, crop_size=side))
