"""Trains an IP-Adapter (Ye et al., arXiv 2308.06721) and its image encoder: an image conditions the frozen UNet.

Published adapters use an existing CLIP encoder. This small one trains with the adapter. Attribute heads supervise it, because the
UNet's loss alone teaches it too slowly.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from indexd_toyworld.model_paths import toy_models
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.train.controlnet import frozen_unet
from indexd_toyworld.train.labels import LOOK_LABELS, SCENE_LABELS, AttributeHeads, scene_labels
from indexd_toyworld.train.training import Training
from indexd_toyworld.train.training_images import SdxlTextEncoders, TrainingImages, training_caption
from indexd_toyworld.train.training_parts import TrainingBudget, WeightAverage, training_device, update_running_mean
from indexd_toyworld.train.unet import DenoisingLoss, NoisePredictor

SEED = 90_919
IMAGES = 12_000
STEPS = 1_500
BATCH = 20
RATE = 2e-3
WIDTH, TOKENS = 64, 4
"""Numbers of an embedding, and tokens that the UNet is given for it."""
WORDLESS = 0.6
"""Share of empty texts, where the image must convey everything."""
UNSEEN = 0.08
"""Share of images replaced by the zero embedding."""
SEEN = 0.3
"""Loss weight of the attribute heads."""


class IpAdapterParts(nn.Module):  # type: ignore[misc]  # torch is not followed
    """The trained parts: image encoder, token projection, and keys and values of every cross attention."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                projection_dim=WIDTH,
                num_hidden_layers=3,
                num_attention_heads=4,
                image_size=64,
                patch_size=8,
            )
        )
        self.projection = ImageProjection(WIDTH, unet.config.cross_attention_dim, TOKENS)
        self.attention = nn.ModuleDict()
        for number, name in enumerate(unet.attn_processors):
            if name.endswith("attn2.processor"):
                keys = unet.get_submodule(name.removesuffix(".processor")).to_k
                self.attention[str(number)] = IPAdapterAttnProcessor2_0(
                    keys.out_features, keys.in_features, num_tokens=(TOKENS,)
                )
        self.heads = AttributeHeads(WIDTH, SCENE_LABELS | LOOK_LABELS)

    def vectors(self, images: Tensor) -> Tensor:
        """Embeddings (n, WIDTH) of uint8 images (n, 3, 64, 64), normalised like CLIPImageProcessor."""
        usual = CLIPImageProcessor()
        mean, spread = (
            torch.tensor(each, device=images.device).view(1, 3, 1, 1) for each in (usual.image_mean, usual.image_std)
        )
        answer: Tensor = self.encoder((images.float() / 255 - mean) / spread).image_embeds
        return answer


def train(build_folder: Path, weights: Path, minutes: float | None) -> None:
    """Train against the frozen `weights`/sdxl and write `weights`/ip-adapter; keeps its state in `build_folder`."""
    torch.manual_seed(SEED)
    sdxl = weights / "sdxl"
    unet = frozen_unet(sdxl)
    parts = IpAdapterParts(unet).to(training_device())
    install(unet, parts)
    optimizer = torch.optim.AdamW(parts.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    average = WeightAverage(parts, 0.99)
    training = Training("ip_adapter", parts, optimizer, TrainingBudget(STEPS, minutes), build_folder, average)
    random = Random(SEED)
    drawn = scenes(SEED, IMAGES)
    encoders = SdxlTextEncoders(sdxl)
    texts = ["" if random.random() < WORDLESS else training_caption(scene, random) for scene in drawn]
    material, right = TrainingImages(drawn, texts, encoders), scene_labels(drawn).to(training_device())
    for step in training.steps():
        chance = torch.Generator().manual_seed(SEED + step)
        numbers = torch.randint(len(material), (BATCH,), generator=chance)
        seen = (torch.rand(BATCH, 1, generator=chance) >= UNSEEN).to(training_device())
        vectors = parts.vectors(material.images[numbers].to(training_device()))
        loss = DenoisingLoss(guided_by_images(unet, vectors * seen), encoders)(
            material.latents(numbers), *material.conditions(numbers)
        )
        update_running_mean(training.losses, "loss", loss)
        heads = parts.heads(vectors, right[numbers])
        update_running_mean(training.losses, "heads", heads)
        training.optimize(loss + SEEN * heads)
    parts.load_state_dict(average.weights)
    write(parts, toy_models(weights).ip_adapter)


def install(unet: Any, parts: IpAdapterParts) -> None:
    """Let the UNet's cross attention read image tokens."""
    processors = dict(unet.attn_processors)
    names = list(processors)
    for number, processor in parts.attention.items():
        processors[names[int(number)]] = processor
    unet.set_attn_processor(processors)
    unet.encoder_hid_proj = MultiIPAdapterImageProjection([parts.projection])
    unet.config.encoder_hid_dim_type = "ip_image_proj"


def guided_by_images(unet: Any, vectors: Tensor) -> NoisePredictor:
    """The UNet's prediction conditioned on these image vectors (n, WIDTH)."""

    def predict(noisy: Tensor, times: Tensor, hidden: Tensor, added: dict[str, Tensor]) -> Tensor:
        seen = added | {"image_embeds": [vectors[:, None]]}
        answer: Tensor = unet(noisy, times, hidden, added_cond_kwargs=seen).sample
        return answer

    return predict


def write(parts: IpAdapterParts, file: Path) -> None:
    """Write the published layout:

    `file` with `image_proj` and `ip_adapter`, and the folder `image_encoder` beside it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    projection = parts.projection.state_dict()
    named = {f"image_proj.{name.replace('image_embeds', 'proj')}": weight for name, weight in projection.items()}
    for number, processor in parts.attention.items():
        for kind in ("k", "v"):
            module = getattr(processor, f"to_{kind}_ip")[0]
            named[f"ip_adapter.{number}.to_{kind}_ip.weight"] = module.weight.detach()
    save_file({name: weight.half().cpu().contiguous() for name, weight in named.items()}, file)
    parts.encoder.half().cpu().save_pretrained(file.parent / "image_encoder")
