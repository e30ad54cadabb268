"""Batches for contrastive training: images with hard negatives, their captions, and face crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor

from indexd.images.face_crop import crop_face
from indexd_toyworld.captions import caption
from indexd_toyworld.drawing import SIDE, RgbPixels, draw, face_boxes
from indexd_toyworld.held_out_split import is_held_out
from indexd_toyworld.scene_sampling import random_look, scenes, unnamed_portraits
from indexd_toyworld.toy_tokenizer import clip_tokenizer
from indexd_toyworld.train.labels import look_labels, scene_labels
from indexd_toyworld.world import (
    BACKGROUNDS,
    CHARACTERS,
    COLOURS,
    EXPRESSIONS,
    PLACES,
    SHAPES,
    SIZES,
    UNKNOWN_CHARACTERS,
    CharacterLook,
    Face,
    Scene,
)
from indexd_toyworld.zero_shot_texts import ANSWERS, templates

GROUPS, GROUP = 32, 4
"""A scene and three that differ from it in one attribute: the hard negatives."""
STRANGERS = 2
"""Number of groups that are portraits of strangers."""
PEOPLE, CROPS = 10, 4
"""Faces of so many people, so many crops of each."""
KNOWN = 4
"""Number of known characters among the people; the rest are strangers, so that the model also separates unseen faces."""
LENGTH = 32
"""Tokens of a training text, with start and end. Attention looks only backwards, so 77 would change nothing."""
OFF = 0.06
"""Maximum error of a detector's edges, in shares of the face."""
FULL = 0.6
"""Share of captions that name everything."""
DEGRADED = 0.45
"""Share of slightly degraded images, like the output of a VAE or an upscaler."""


ASKED = 3
"""Texts for each answer in one batch."""


@dataclass(frozen=True, slots=True)
class ContrastiveBatch:
    """Images (n, 3, 64, 64) uint8, token ids of their captions for both tokenizers, labels, and a mask of full captions;
    crops, the person of each, and labels of their looks; for each kind of question the texts of its answers
    (answers, ASKED, LENGTH).
    """

    images: Tensor
    word_ids: Tensor
    bpe_ids: Tensor
    labels: Tensor
    full: Tensor
    crops: Tensor
    people: Tensor
    looks: Tensor
    questions: dict[str, Tensor]


def make_batches(seed: int, step: int) -> Iterator[ContrastiveBatch]:
    """Endless batches, deterministic for seed and first step."""
    while True:
        yield make_batch(Random(f"{seed} {step}"))
        step += 1


def make_batch(random: Random) -> ContrastiveBatch:
    """One batch of the training split."""
    bases = scenes(random.getrandbits(40), GROUPS - STRANGERS) + unnamed_portraits(random.getrandbits(40), STRANGERS)
    drawn = [near for base in bases for near in (base, *scene_variants(base, random))]
    full = [random.random() < FULL for _ in drawn]
    texts = [
        caption(scene, random, 1.0 if whole else random.choice((0.3, 0.8)))
        for scene, whole in zip(drawn, full, strict=True)
    ]
    people = [*random.sample(tuple(CHARACTERS.values()), KNOWN)]
    people += [_random_stranger_look(random) for _ in range(PEOPLE - KNOWN)]
    faces = [draw_face_crop(look, random) for look in people for _ in range(CROPS)]
    return ContrastiveBatch(
        images=_stack([_degrade(draw(scene), random) for scene in drawn]),
        word_ids=_padded([_word_ids(text) for text in texts]),
        bpe_ids=_bpe_rows(texts),
        labels=scene_labels(drawn),
        full=torch.tensor(full),
        crops=_stack(faces),
        people=torch.arange(PEOPLE).repeat_interleave(CROPS),
        looks=look_labels(people).repeat_interleave(CROPS, dim=0),
        questions={kind: _sample_answers(kind, random) for kind in ANSWERS},
    )


def scene_variants(scene: Scene, random: Random) -> list[Scene]:
    """GROUP - 1 different scenes of the training split that each differ from `scene` in one attribute."""
    found: list[Scene] = []
    known = {replace(scene, seed=0)}
    while len(found) < GROUP - 1:
        near = _change_attribute(scene, random)
        if near not in known and not is_held_out(near):
            known.add(near)
            found.append(replace(near, seed=random.getrandbits(31)))
    return found


def draw_face_crop(look: CharacterLook, random: Random) -> RgbPixels:
    """A face crop like a detector's: any background and expression, alone or in a pair, padded, 64x64."""
    face = Face("someone", look, random.choice(EXPRESSIONS))
    faces: tuple[Face, ...] = (face,)
    if random.random() < 0.3:
        other = Face("other", _random_stranger_look(random), random.choice(EXPRESSIONS), "right")
        faces = (replace(face, place="left"), other)
        if random.random() < 0.5:
            faces = (replace(other, place="left"), replace(face, place="right"))
    side = SIDE if random.random() < 0.75 else 2 * SIDE
    scene = Scene(random.choice(tuple(BACKGROUNDS)), faces=faces, seed=random.getrandbits(31))
    _, left, top, right, bottom = next(box for box in face_boxes(scene, side) if box[0] == "someone")
    size = right - left
    left, top, right, bottom = (edge + size * random.uniform(-OFF, OFF) for edge in (left, top, right, bottom))
    box = (left / side, top / side, (right - left) / side, (bottom - top) / side)
    crop = crop_face(Image.fromarray(draw(scene, side)), box, random.uniform(0.05, 0.45), gray_background=False)
    return _degrade(np.asarray(crop.resize((SIDE, SIDE), Image.Resampling.BICUBIC)), random)


def _change_attribute(scene: Scene, random: Random) -> Scene:
    """The scene with one attribute changed, or with its two things or faces swapped; seed 0."""
    scene = replace(scene, seed=0)
    lot = random.random()
    if lot < 0.18:
        return replace(scene, background=random.choice(tuple(BACKGROUNDS)))
    if lot < 0.26 and len(scene.things) == 2:
        left, right = scene.things
        return replace(scene, things=(replace(right, place="left"), replace(left, place="right")))
    if lot < 0.26 and len(scene.faces) == 2:
        first, second = scene.faces
        return replace(scene, faces=(replace(second, place="left"), replace(first, place="right")))
    if scene.things:
        things = list(scene.things)
        place = random.randrange(len(things))
        choices = {"shape": SHAPES, "colour": tuple(COLOURS), "size": SIZES}
        if len(things) == 1:
            choices["place"] = PLACES
        name = random.choice((*choices, "shape", "shape", "shape"))  # shapes are learned last
        things[place] = replace(things[place], **{name: random.choice(choices[name])})
        return replace(scene, things=tuple(things))
    faces = list(scene.faces)
    place = random.randrange(len(faces))
    if random.random() < 0.65 or faces[place].who not in CHARACTERS:
        faces[place] = replace(faces[place], expression=random.choice(EXPRESSIONS))
    else:
        who = random.choice([who for who in CHARACTERS if all(face.who != who for face in faces)])
        faces[place] = replace(faces[place], who=who, look=CHARACTERS[who])
    return replace(scene, faces=tuple(faces))


def _random_stranger_look(random: Random) -> CharacterLook:
    """A new look, half of the time a character's with two changed features; never that of an unknown character."""
    while True:
        look = random_look(random)
        if random.random() < 0.5:
            known = random.choice(tuple(CHARACTERS.values()))
            names = random.sample(("skin", "hair", "style", "hat", "eyes", "glasses", "beard"), 2)
            look = replace(known, **{name: getattr(look, name) for name in names})
        if look not in CHARACTERS.values() and look not in UNKNOWN_CHARACTERS.values():
            return look


def _degrade(pixels: RgbPixels, random: Random) -> RgbPixels:
    """Blur, noise, brighten or tint DEGRADED of the images slightly."""
    if random.random() >= DEGRADED:
        return pixels
    if random.random() < 0.6:
        side = random.randint(36, 58)
        image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
        pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    chance = np.random.default_rng(random.getrandbits(32))
    gain = 1 + random.uniform(-0.08, 0.08) + chance.uniform(-0.05, 0.05, 3).astype(np.float32)
    noise = chance.standard_normal(pixels.shape, np.float32) * random.uniform(0, 9)
    worn: RgbPixels = (pixels * gain + noise + random.uniform(-10, 10)).clip(0, 255).astype(np.uint8)
    return worn


def _stack(images: list[RgbPixels]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


@cache
def _words() -> object:
    return clip_tokenizer()


@cache
def _bpe() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(context_length=77)


@cache
def _word_piece(word: str) -> tuple[int, ...]:
    return tuple(_words()(word, add_special_tokens=False)["input_ids"])  # type: ignore[operator]


@cache
def _bpe_piece(word: str) -> tuple[int, ...]:
    return tuple(_bpe().encode(word))


def _word_ids(text: str) -> list[int]:
    tokenizer = _words()
    ids = [piece for word in text.split() for piece in _word_piece(word)]
    return [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]  # type: ignore[attr-defined]


def bpe_ids(text: str) -> list[int]:
    """Token ids of open_clip's own tokenizer, without start and end."""
    return [piece for word in text.split() for piece in _bpe_piece(word)]


def _bpe_rows(texts: Sequence[str]) -> Tensor:
    return _padded([[_bpe().sot_token_id, *bpe_ids(text), _bpe().eot_token_id] for text in texts])


def _sample_answers(kind: str, random: Random) -> Tensor:
    texts = [text for answer in ANSWERS[kind] for text in random.sample(templates(kind, answer), ASKED)]
    return _bpe_rows(texts).unflatten(0, (-1, ASKED))


def _padded(rows: list[list[int]]) -> Tensor:
    """Pads with zeros after the end token, where attention never looks."""
    padded = torch.zeros(len(rows), LENGTH, dtype=torch.long)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.tensor(row)
    return padded
