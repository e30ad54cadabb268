"""Records of what the bytes of an image state. Nothing is decoded or stored here."""

from __future__ import annotations

from dataclasses import dataclass, field

PARSER_VERSION = 5
"""Raise it when a reader gives better answers: images read by an older version can be read again from their texts."""


@dataclass(frozen=True, slots=True)
class RawChunk:
    """One metadata text of a file, unchanged: `key` is the chunk ("png:parameters", "exif:UserComment", "xmp")."""

    key: str
    encoding: str
    text: str


@dataclass(frozen=True, slots=True)
class MetadataLora:
    """A LoRA that was used for an image. Weights are signed; `text_weight` is None when the file states only one weight."""

    name: str
    weight: float | None = None
    text_weight: float | None = None
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class ControlUse:
    """A ControlNet or T2I adapter. `module` is its preprocessor; `start` and `end` are shares of the steps, 0 to 1.

    `hash` is that of the model file, as the program shortened it.
    """

    model: str | None
    module: str | None = None
    weight: float | None = None
    start: float | None = None
    end: float | None = None
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingUse:
    """A textual inversion that the prompts name."""

    name: str
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class CharacterPrompt:
    """A prompt for one character in the image (NovelAI 4), and its position as shares of width and height, 0 to 1."""

    text: str
    negative_text: str | None = None
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """A model on a model site. `address` is a Civitai version number or `urn:air:…`."""

    address: str
    kind: str | None = None
    name: str | None = None
    version: str | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class DetailerUse:
    """A pass that rendered detected regions again (ADetailer, FaceDetailer).

    Prompts are None when the prompts of the image were used.
    """

    model: str | None
    prompt: str | None = None
    negative_prompt: str | None = None
    denoise: float | None = None


@dataclass(frozen=True, slots=True)
class MetadataScore:
    """A score that the image got when it was rendered. `model` is the revision of the scoring model, None if there is none."""

    name: str
    value: float
    model: str | None = None


@dataclass(frozen=True, slots=True)
class ChoiceUse:
    """One choice of the template that the prompt came from: the name of the slot, and what was taken."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SamplerPass:
    """One sampler pass; the first one starts from an empty latent.

    `start_step` and `end_step` are set when the pass ran only some of the steps.
    """

    seed: str | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    denoise: float | None = None
    model: str | None = None
    start_step: int | None = None
    end_step: int | None = None


@dataclass(frozen=True, slots=True)
class PhotoAnnotations:
    """A rating (1 to 5 stars) and keywords (levels parted by `/`) that a person gave in another program."""

    rating: int | None = None
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationDetails:
    """The generation settings that lists of images leave out; None = not stated.

    `source` names the place in the file that they were read from. `guidance` is the distilled guidance of FLUX.
    `upscaler` enlarged the finished image.
    """

    source: str | None = None
    raw_prompt: str | None = None
    gen_width: int | None = None
    gen_height: int | None = None
    clip_skip: int | None = None
    vae: str | None = None
    vae_hash: str | None = None
    variation_seed: str | None = None
    variation_strength: float | None = None
    guidance: float | None = None
    refiner: str | None = None
    hires_scale: float | None = None
    hires_steps: int | None = None
    hires_upscaler: str | None = None
    hires_denoise: float | None = None
    upscaler: str | None = None
    passes: tuple[SamplerPass, ...] = ()
    controls: tuple[ControlUse, ...] = ()
    embeddings: tuple[EmbeddingUse, ...] = ()
    characters: tuple[CharacterPrompt, ...] = ()
    resources: tuple[ResourceUse, ...] = ()
    detailers: tuple[DetailerUse, ...] = ()
    choices: tuple[ChoiceUse, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageMetadata(GenerationDetails):
    """What made the image, as its own metadata states. None = not stated.

    `seed` is decimal text, because seeds reach 2**64 - 1 and SQLite integers do not. `is_ai` states how it is known
    that a model made the image: "metadata", "c2pa", "iptc", or None. `extras` holds every pair that has no field.
    `created_at` is the stated creation date in seconds since the epoch, and `created_from` its place in the file. When
    only a day is stated, `created_at` is its start and `created_until` its end.
    `job` is "job-id/item-index" when indexd rendered the image.
    """

    generator: str | None = None
    generator_version: str | None = None
    is_ai: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    seed: str | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    denoise: float | None = None
    model_name: str | None = None
    model_hash: str | None = None
    job: str | None = None
    input_hash: str | None = None
    created_at: float | None = None
    created_until: float | None = None
    created_from: str | None = None
    loras: tuple[MetadataLora, ...] = ()
    scores: tuple[MetadataScore, ...] = ()
    extras: tuple[tuple[str, str], ...] = ()
    annotations: PhotoAnnotations | None = None
    raw: tuple[RawChunk, ...] = field(default=(), repr=False)
    problem: str | None = None
    parser_version: int = 0


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image by its bytes: `content_hash` is blake3 (32 bytes), width and height are pixels as stored in the header.

    `sidecar_annotations` are those of an XMP sidecar beside the file; None where there is none.
    """

    content_hash: bytes
    byte_count: int
    format: str
    width: int
    height: int
    frame_count: int
    metadata: ImageMetadata
    sidecar_annotations: PhotoAnnotations | None = None
