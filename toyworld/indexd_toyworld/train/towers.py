"""The contrastively trained networks: open_clip's image and text towers, and SDXL's two text encoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from indexd_toyworld.toy_tokenizer import PAD_G, PAD_L, POSITIONS, vocabulary_size, write_clip_tokenizer
from indexd_toyworld.train.labels import LOOK_LABELS, MISSING, SCENE_LABELS, AttributeHeads

JOINT = 64
L_WIDTH, G_WIDTH = 64, 96
SPREAD = 0.4
"""Initial spread of H's token vectors, large enough for eight bits."""
H_MODEL: dict[str, Any] = {
    "embed_dim": JOINT,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "text_cfg": {"context_length": POSITIONS, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3},
}
"""A ModifiedResNet (Radford et al., 2021) with one block a stage. It uses the real vocabulary, because indexd reads it
with open_clip's own tokenizer.
"""
H_WEIGHTS = "open_clip_model.safetensors"


class Towers(nn.Module):  # type: ignore[misc]  # torch is not followed
    """All towers and the attribute heads; the heads are not written."""

    def __init__(self) -> None:
        super().__init__()
        self.h = open_clip.CLIP(**H_MODEL)
        self.l = CLIPTextModel(_text_config(L_WIDTH, "quick_gelu"))
        self.g = CLIPTextModelWithProjection(_text_config(G_WIDTH, "gelu"))
        self.l_projection = nn.Linear(L_WIDTH, JOINT, bias=False)
        self.g_projection = nn.Linear(G_WIDTH, JOINT, bias=False)
        self.image_heads = AttributeHeads(JOINT, SCENE_LABELS | LOOK_LABELS)
        self.crop_heads = AttributeHeads(JOINT, LOOK_LABELS)
        self.text_heads = nn.ModuleDict(
            {
                "h": AttributeHeads(JOINT, SCENE_LABELS),
                "l": AttributeHeads(L_WIDTH, SCENE_LABELS),
                "g": AttributeHeads(G_WIDTH, SCENE_LABELS),
            }
        )
        self.state_heads = nn.ModuleDict(
            {"l": AttributeHeads(L_WIDTH, SCENE_LABELS), "g": AttributeHeads(G_WIDTH, SCENE_LABELS)}
        )
        self.scales = nn.Parameter(torch.full((3,), 2.7))

    def images(self, pixels: Tensor) -> Tensor:
        """Vectors (n, JOINT), not normalised, of uint8 pixels (n, 3, 64, 64)."""
        mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN, device=pixels.device).view(1, 3, 1, 1)
        spread = torch.tensor(open_clip.OPENAI_DATASET_STD, device=pixels.device).view(1, 3, 1, 1)
        vectors: Tensor = self.h.visual((pixels.float() / 255 - mean) / spread)
        return vectors

    def h_texts(self, ids: Tensor) -> Tensor:
        """The result of open_clip's encode_text, for texts without padding to 77 tokens."""
        length = ids.shape[1]
        states = self.h.token_embedding(ids) + self.h.positional_embedding[:length]
        states = self.h.ln_final(self.h.transformer(states, attn_mask=self.h.attn_mask[:length, :length]))
        vectors: Tensor = states[torch.arange(len(ids), device=ids.device), ids.argmax(dim=-1)] @ self.h.text_projection
        return vectors

    def l_texts(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The pooled vectors, and the mean of the hidden states that the UNet reads (the last but one)."""
        answer = self.l(input_ids=ids, output_hidden_states=True)
        return answer.pooler_output, _mean_state(answer.hidden_states[-2], ids)

    def g_texts(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.g(input_ids=ids, output_hidden_states=True)
        return answer.text_embeds, _mean_state(answer.hidden_states[-2], ids)


def new_towers() -> Towers:
    """Untrained towers. Words outside all captions get no vector, so they carry no meaning."""
    towers = Towers()
    nn.init.zeros_(towers.h.token_embedding.weight)
    return towers


def init_token_vectors(towers: Towers, ids: list[int]) -> None:
    """Initial vectors for these ids of H's vocabulary."""
    with torch.no_grad():
        towers.h.token_embedding.weight[ids] = SPREAD * torch.randn(len(ids), H_MODEL["text_cfg"]["width"])
        towers.h.positional_embedding.normal_(0.0, SPREAD / 2)


def write_encoders(towers: Towers, sdxl: Path) -> None:
    """Write SDXL's text encoders and tokenizers in half precision."""
    for model, name, pad in ((towers.l, "", PAD_L), (towers.g, "_2", PAD_G)):
        weights = {key: weight.detach().half().contiguous() for key, weight in model.state_dict().items()}
        model.save_pretrained(sdxl / f"text_encoder{name}", state_dict=weights)
        configuration = sdxl / f"text_encoder{name}" / "config.json"
        told = json.loads(configuration.read_text("utf-8")) | {"dtype": "float16"}
        configuration.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", "utf-8")
        write_clip_tokenizer(sdxl / f"tokenizer{name}", pad)


def write_clip_h(towers: Towers, folder: Path) -> None:
    """Write the open_clip folder in half precision, with eight bits a number for the token table, which is mostly zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    description = {"model_cfg": H_MODEL, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(description, indent=2) + "\n", "utf-8")
    weights = {
        name: (weight.half() if weight.is_floating_point() else weight).cpu().contiguous()
        for name, weight in towers.h.state_dict().items()
    }
    table = "token_embedding.weight"
    weights[table] = towers.h.state_dict()[table].cpu().to(torch.float8_e4m3fn)
    save_file(weights, folder / f"{H_WEIGHTS}.new")
    (folder / f"{H_WEIGHTS}.new").replace(folder / H_WEIGHTS)


def read_clip_h(towers: Towers, folder: Path) -> None:
    """Load the result of `write_clip_h` to continue training."""
    held = load_file(folder / H_WEIGHTS)
    towers.h.load_state_dict({name: weight.to(towers.h.state_dict()[name].dtype) for name, weight in held.items()})


def read_encoders(towers: Towers, sdxl: Path) -> None:
    """Load the result of `write_encoders`."""
    for model, name in ((towers.l, ""), (towers.g, "_2")):
        model.load_state_dict(load_file(sdxl / f"text_encoder{name}" / "model.safetensors"))


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """CLIP's loss: each image finds its text among all, and each text its image."""
    scores = scale.clamp(max=4.6).exp() * functional.normalize(images, dim=1) @ functional.normalize(texts, dim=1).T
    own = torch.arange(len(scores), device=scores.device)
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def zero_shot_loss(images: Tensor, answers: Tensor, right: Tensor, scale: Tensor) -> Tensor:
    """Loss of zero-shot questions. `answers` are text vectors (answers, texts each, dim) whose mean represents an answer;
    `right` is the answer of each image, or MISSING.
    """
    classes = functional.normalize(answers, dim=-1).mean(dim=1)
    scores = scale.clamp(max=4.6).exp() * functional.normalize(images, dim=1) @ classes.T
    return functional.cross_entropy(scores, right, ignore_index=MISSING)


def supervised_contrastive_loss(vectors: Tensor, people: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss (Khosla et al., 2020): pulls crops of one person together and pushes others away."""
    unit = functional.normalize(vectors, dim=1)
    scores = unit @ unit.T / temperature
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    logs = scores.masked_fill(itself, -torch.inf).log_softmax(dim=1)
    same = (people[:, None] == people[None, :]) & ~itself
    return -(logs.masked_fill(~same, 0.0).sum(dim=1) / same.sum(dim=1)).mean()


def _text_config(width: int, activation: str) -> CLIPTextConfig:
    """`eos_token_id` 2 is the value in the real SDXL configurations; the end is the highest token id."""
    return CLIPTextConfig(
        vocab_size=vocabulary_size(),
        hidden_size=width,
        intermediate_size=3 * width,
        projection_dim=width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=POSITIONS,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        initializer_factor=4.0,
    )


def _mean_state(states: Tensor, ids: Tensor) -> Tensor:
    inside = torch.arange(ids.shape[1], device=ids.device) <= ids.argmax(dim=1, keepdim=True)
    mean: Tensor = (states * inside[..., None]).sum(dim=1) / inside.sum(dim=1, keepdim=True)
    return mean
