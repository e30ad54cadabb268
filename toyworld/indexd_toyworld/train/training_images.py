"""Training data of the diffusion models: scenes with images and captions, latents and text encodings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from indexd_toyworld.captions import caption, full_caption
from indexd_toyworld.drawing import draw
from indexd_toyworld.train.training_parts import training_device
from indexd_toyworld.train.vae import SCALING, as_input, latents_of
from indexd_toyworld.world import Scene

PLAIN_SHARE = 0.5
"""Share of full captions in the plainest words; the others omit attributes and use synonyms."""


class LazyRows:
    """Rows computed on first access and kept in half precision."""

    def __init__(self, count: int, compute: Callable[[Tensor], Tensor]) -> None:
        self._compute = compute
        self._rows: Tensor | None = None
        self._there = torch.zeros(count, dtype=torch.bool)

    def __getitem__(self, numbers: Tensor) -> Tensor:
        missing = numbers[~self._there[numbers]].unique()
        if len(missing):
            rows = self._compute(missing).cpu().half()
            if self._rows is None:
                self._rows = torch.empty(len(self._there), *rows.shape[1:], dtype=torch.float16)
            self._rows[missing] = rows
            self._there[missing] = True
        assert self._rows is not None
        return self._rows[numbers].float().to(training_device())


class SdxlTextEncoders:
    """SDXL's two text encoders, loaded from a pipeline folder and frozen."""

    def __init__(self, sdxl: Path) -> None:
        self._tokenizers = [CLIPTokenizer.from_pretrained(sdxl / f"tokenizer{end}") for end in ("", "_2")]
        self.models = [
            kind.from_pretrained(sdxl / f"text_encoder{end}", dtype=torch.float32)
            .to(training_device())
            .eval()
            .requires_grad_(False)
            for kind, end in ((CLIPTextModel, ""), (CLIPTextModelWithProjection, "_2"))
        ]

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Hidden states of both last but one layers, concatenated (n, 77, widths), and the second encoder's pooled vectors: the
        input that indexd/generate/sdxl/text_encoding.py gives the UNet.
        """
        hidden: list[Tensor] = []
        pooled = torch.empty(0)
        for tokenizer, model in zip(self._tokenizers, self.models, strict=True):
            ids = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids
            answer: Any = model(ids.to(training_device()), output_hidden_states=True)
            hidden.append(answer.hidden_states[-2])
            pooled = answer[0]
        return torch.cat(hidden, dim=-1), pooled


class TrainingImages:
    """Training scenes by number: images uint8 (n, 3, 64, 64), latents, texts (78, width).

    The last row of a text is the pooled vector, padded with zeros.
    """

    def __init__(self, scenes: Sequence[Scene], texts: Sequence[str], encoders: SdxlTextEncoders) -> None:
        self.images = torch.from_numpy(np.stack([draw(scene) for scene in scenes])).permute(0, 3, 1, 2).contiguous()
        self._texts = list(texts)
        self._encoders = encoders
        self.pooled_width = encoders.models[1].config.projection_dim
        self.texts = LazyRows(len(scenes), self._encode_texts)

    def __len__(self) -> int:
        return len(self._texts)

    def conditions(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states and pooled vectors of these scenes' texts."""
        rows = self.texts[numbers]
        return rows[:, :-1], rows[:, -1, : self.pooled_width]

    def latents(self, numbers: Tensor) -> Tensor:
        """The scaled latents of these scenes: the target of the VAE's encoder."""
        return SCALING * latents_of(as_input(self.images[numbers]).to(training_device()))

    def _encode_texts(self, numbers: Tensor) -> Tensor:
        with torch.no_grad():
            hidden, pooled = self._encoders([self._texts[number] for number in numbers.tolist()])
        last = torch.nn.functional.pad(pooled, (0, hidden.shape[-1] - pooled.shape[-1]))
        return torch.cat([hidden, last[:, None]], dim=1)


def training_caption(scene: Scene, random: Random) -> str:
    """A full caption half of the time, else a natural one."""
    return full_caption(scene) if random.random() < PLAIN_SHARE else caption(scene, random)
