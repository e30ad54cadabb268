"""What is known of a picture once its bytes have been read: plain records, no decoding, no storage."""

from __future__ import annotations

from dataclasses import dataclass, field

PARSER_VERSION = 3
"""Raise it when a reader gives better answers: images read by an older version can be read again from their texts."""


@dataclass(frozen=True, slots=True)
class RawChunk:
    """One metadata text as it stood in the file: `key` is the chunk ("png:parameters", "exif:UserComment", "xmp")."""

    key: str
    encoding: str
    text: str


@dataclass(frozen=True, slots=True)
class MetadataLora:
    """One LoRA named in the metadata. Weights are signed; `text_weight` is None where the file states one weight only."""

    name: str
    weight: float | None = None
    text_weight: float | None = None
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class ControlUse:
    """One ControlNet (or T2I adapter) unit: module = preprocessor, `start`/`end` as shares of the steps."""

    model: str | None
    module: str | None = None
    weight: float | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingUse:
    """One textual inversion that the prompts named."""

    name: str
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class CharacterPrompt:
    """A prompt of its own for one of the characters in the picture (NovelAI 4), and where it stands: shares, 0 to 1."""

    text: str
    negative_text: str | None = None
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """A model as a site of models knows it: `address` is Civitai's version number or `urn:air:...`."""

    address: str
    kind: str | None = None
    name: str | None = None
    version: str | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class DetailerUse:
    """One detector whose finds were made anew (ADetailer, FaceDetailer); texts are None where the picture's own were used."""

    model: str | None
    prompt: str | None = None
    negative_prompt: str | None = None
    denoise: float | None = None


@dataclass(frozen=True, slots=True)
class MetadataScore:
    """How a picture was judged when it was made; `model` is the revision that did it, None where none is needed."""

    name: str
    value: float
    model: str | None = None


@dataclass(frozen=True, slots=True)
class SamplerPass:
    """One pass of a sampler; the first pass from an empty latent is the primary one (order 0).

    `start_step` and `end_step` are stated where it does only some of the steps.
    """

    seed: str | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    denoise: float | None = None
    model_name: str | None = None
    start_step: int | None = None
    end_step: int | None = None


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """What made the picture, as its own metadata says. None = not stated.

    `seed` is decimal text, because seeds go to 2**64 - 1 and SQLite integers do not. `is_ai` says how it is known
    that a model made the picture: "metadata", "c2pa", "iptc", or None. `guidance` is the distilled one (FLUX), `upscaler`
    what enlarged the finished picture. `extras` holds every pair no column is made for.
    `created_at` is the stated creation date in seconds since the epoch, and `created_from` where it stands. Where only a
    day is stated, `created_at` is its start and `created_until` its end.
    `job` is "job-id/item-index" where this program made the picture.
    """

    generator: str | None = None
    generator_version: str | None = None
    source: str | None = None
    is_ai: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    raw_prompt: str | None = None
    seed: str | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    denoise: float | None = None
    clip_skip: int | None = None
    model_name: str | None = None
    model_hash: str | None = None
    vae: str | None = None
    variation_seed: str | None = None
    variation_strength: float | None = None
    guidance: float | None = None
    refiner: str | None = None
    hires_scale: float | None = None
    hires_steps: int | None = None
    hires_upscaler: str | None = None
    hires_denoise: float | None = None
    upscaler: str | None = None
    gen_width: int | None = None
    gen_height: int | None = None
    job: str | None = None
    input_hash: str | None = None
    created_at: float | None = None
    created_until: float | None = None
    created_from: str | None = None
    loras: tuple[MetadataLora, ...] = ()
    controls: tuple[ControlUse, ...] = ()
    passes: tuple[SamplerPass, ...] = ()
    embeddings: tuple[EmbeddingUse, ...] = ()
    characters: tuple[CharacterPrompt, ...] = ()
    resources: tuple[ResourceUse, ...] = ()
    detailers: tuple[DetailerUse, ...] = ()
    scores: tuple[MetadataScore, ...] = ()
    extras: tuple[tuple[str, str], ...] = ()
    raw: tuple[RawChunk, ...] = field(default=(), repr=False)
    problem: str | None = None
    parser_version: int = 0


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """A picture by its bytes: `content_hash` is blake3 (32 bytes), width and height are pixels as stored in the header."""

    content_hash: bytes
    byte_count: int
    format: str
    width: int
    height: int
    frame_count: int
    metadata: ImageMetadata
