"""Everything else that a picture says of its making: what `indexd show` adds to the columns that lists and hits have."""

from __future__ import annotations

from dataclasses import dataclass

from indexd.images.facts import CharacterPrompt, ControlUse, DetailerUse, EmbeddingUse, ResourceUse, SamplerPass
from indexd.store.database import Connection
from indexd.store.parts import (
    CHARACTERS,
    CONTROLS,
    DETAILERS,
    INVERSIONS,
    PASSES,
    REFINEMENT,
    RESOURCES,
    Part,
    Row,
)

_COLUMNS = ("source", "raw_prompt", "gen_width", "gen_height", "clip_skip", "vae")


@dataclass(frozen=True, slots=True)
class Details:
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


def details_of(connection: Connection, image_id: int) -> Details | None:
    """The details of one picture; None when there is no such picture."""
    row = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM image JOIN image_text ON image_text.image_id = image.id WHERE image.id = ?",
        (image_id,),
    ).fetchone()
    if row is None:
        return None

    def rows(part: Part) -> list[Row]:
        return part.read(connection, [image_id]).get(image_id, [])

    refinement = next(iter(rows(REFINEMENT)), (None,) * len(REFINEMENT.columns))
    columns = dict(zip((*_COLUMNS, *REFINEMENT.columns), (*row, *refinement), strict=True))
    return Details(
        **columns,
        passes=tuple(SamplerPass(*values) for values in rows(PASSES)),
        controls=tuple(ControlUse(*values) for values in rows(CONTROLS)),
        embeddings=tuple(EmbeddingUse(*values) for values in rows(INVERSIONS)),
        characters=tuple(CharacterPrompt(*values) for values in rows(CHARACTERS)),
        resources=tuple(ResourceUse(*values) for values in rows(RESOURCES)),
        detailers=tuple(DetailerUse(*values) for values in rows(DETAILERS)),
    )
