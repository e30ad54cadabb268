"""Trains the sentence-transformers model on pairs of captions of one scene (multiple negatives ranking).

Henderson et al., "Efficient Natural Language Response Suggestion for Smart Reply" (2017). Half of the captions carry indexd's query
prefix, so that a query embeds near its prompt.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertConfig, BertModel, BertTokenizer

from indexd.models.bge import QUERY_PREFIX
from indexd_toyworld.captions import caption, vocabulary_words
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.toy_tokenizer import letter_vocabulary
from indexd_toyworld.train.contrastive_batches import scene_variants
from indexd_toyworld.train.training import Training
from indexd_toyworld.train.training_parts import TrainingBudget, WeightAverage, training_device, update_running_mean

SEED = 3_841
STEPS = 700
GROUPS = 24
"""Number of groups of four similar scenes."""
RATE = 2e-3
WIDTH, LAYERS = 80, 2
LONGEST = 512
TEMPERATURE = 0.05
FULL = 0.8
"""Share of caption pairs that name everything; the others omit attributes."""


def train(build: Path, weights: Path, minutes: float | None) -> None:
    """Train and write `weights`/bge; keeps its state in `build`."""
    torch.manual_seed(SEED)
    model = BertModel(_config(), add_pooling_layer=False).to(training_device())
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    average = WeightAverage(model, 0.99)
    training = Training("bge", model, optimizer, TrainingBudget(STEPS, minutes), build, average)
    for step in training.steps():
        first, second = (_vectors(model, texts) for texts in _pairs(Random(f"{SEED} {step}")))
        scores = first @ second.T / TEMPERATURE
        own = torch.arange(len(scores), device=scores.device)
        loss = (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2
        update_running_mean(training.losses, "loss", loss)
        training.optimize(loss)
    model.load_state_dict(average.weights)
    _write(model, weights / "bge")


def tokenizer() -> BertTokenizer:
    """Lower-casing WordPiece: a caption or prefix word is one token, any other splits into letters."""
    known = [*vocabulary_words(), *re.findall(r"[a-z]+", QUERY_PREFIX.lower())]
    vocabulary = list(dict.fromkeys([*letter_vocabulary(), *known]))
    table = {token: place for place, token in enumerate(vocabulary)}
    return BertTokenizer(vocab=table, do_lower_case=True, model_max_length=LONGEST)


def _pairs(random: Random) -> tuple[list[str], list[str]]:
    """Captions, and other captions of the same scenes."""
    drawn = [near for base in scenes(random.getrandbits(40), GROUPS) for near in (base, *scene_variants(base, random))]
    shares = [1.0 if random.random() < FULL else 0.8 for _ in drawn]
    first, second = (
        [caption(scene, random, share) for scene, share in zip(drawn, shares, strict=True)] for _ in range(2)
    )
    return [QUERY_PREFIX + text if random.random() < 0.5 else text for text in first], second


def _vectors(model: Any, texts: list[str]) -> Tensor:
    rows = _tokenizer()(texts, padding=True, return_tensors="pt").to(training_device())
    return functional.normalize(model(**rows).last_hidden_state[:, 0], dim=1)


@cache
def _tokenizer() -> BertTokenizer:
    return tokenizer()


def _config() -> BertConfig:
    return BertConfig(
        vocab_size=len(_tokenizer()),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=3 * WIDTH,
        max_position_embeddings=LONGEST,
        initializer_range=0.1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def _write(model: Any, folder: Path) -> None:
    """Write the folder in BGE's published layout: CLS pooling, unit length, and an unused pooler."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = BertModel(_config())
    whole.load_state_dict(model.state_dict(), strict=False)
    whole.half().save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds)
    ]
    (folder / "1_Pooling").mkdir(exist_ok=True)
    described = {
        "1_Pooling/config.json": {
            "word_embedding_dimension": WIDTH,
            "pooling_mode_cls_token": True,
            "pooling_mode_mean_tokens": False,
        },
        "sentence_bert_config.json": {"max_seq_length": LONGEST, "do_lower_case": True},
        "config_sentence_transformers.json": {"__version__": {}},
        "modules.json": modules,
    }
    for name, content in described.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
