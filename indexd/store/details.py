"""Everything else that a picture says of its making: what `indexd show` adds to the columns that lists and hits have."""

from __future__ import annotations

from dataclasses import dataclass

from indexd.images.facts import CharacterPrompt, ControlUse, DetailerUse, EmbeddingUse, ResourceUse, SamplerPass
from indexd.store.database import Connection
from indexd.store.parts import (
    CHARACTER_PROMPTS,
    CONTROLS,
    DETAILERS,
    REFINEMENT,
    RESOURCES,
    SAMPLER_PASSES,
    TEXTUAL_INVERSIONS,
    ChildTable,
    Row,
)

_DETAIL_COLUMNS = ("source", "raw_prompt", "gen_width", "gen_height", "clip_skip", "vae")


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """The fields of Metadata of the same names, as they are stored."""

    source: str | None
    raw_prompt: str | None
    gen_width: int | None
    gen_height: int | None
    clip_skip: int | None
    vae: str | None
    variation_seed: str | None
    variation_strength: float | None
    guidance: float | None
    refiner: str | None
    hires_scale: float | None
    hires_steps: int | None
    hires_upscaler: str | None
    hires_denoise: float | None
    upscaler: str | None
    passes: tuple[SamplerPass, ...]
    controls: tuple[ControlUse, ...]
    embeddings: tuple[EmbeddingUse, ...]
    characters: tuple[CharacterPrompt, ...]
    resources: tuple[ResourceUse, ...]
    detailers: tuple[DetailerUse, ...]


def read_details(connection: Connection, image_id: int) -> ImageDetails | None:
    """The details of one picture; None when there is no such picture."""
    row = connection.execute(
        f"SELECT {', '.join(_DETAIL_COLUMNS)} FROM image JOIN image_text ON image_text.image_id = image.id WHERE image.id = ?",
        (image_id,),
    ).fetchone()
    if row is None:
        return None

    def rows(part: ChildTable) -> list[Row]:
        return part.read(connection, [image_id]).get(image_id, [])

    refinement = next(iter(rows(REFINEMENT)), (None,) * len(REFINEMENT.columns))
    columns = dict(zip((*_DETAIL_COLUMNS, *REFINEMENT.columns), (*row, *refinement), strict=True))
    return ImageDetails(
        **columns,
        passes=tuple(SamplerPass(*values) for values in rows(SAMPLER_PASSES)),
        controls=tuple(ControlUse(*values) for values in rows(CONTROLS)),
        embeddings=tuple(EmbeddingUse(*values) for values in rows(TEXTUAL_INVERSIONS)),
        characters=tuple(CharacterPrompt(*values) for values in rows(CHARACTER_PROMPTS)),
        resources=tuple(ResourceUse(*values) for values in rows(RESOURCES)),
        detailers=tuple(DetailerUse(*values) for values in rows(DETAILERS)),
    )
