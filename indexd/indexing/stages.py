"""The layers: what each is computed from, by which model, and which stages a picture needs.

No torch here; the models are behind the worker's calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from indexd.image_metadata.model import ImageFacts
from indexd.store.records import StageInput
from indexd.worker.calls import FACES

THUMBNAIL = "thumbnail"
REPLACEMENT = "succession"


@dataclass(frozen=True, slots=True)
class EmbeddingLayer:
    """One kind of vector: `role` names the model that makes it, `of` what it is made from."""

    name: str
    role: str
    stage_input: StageInput


LAYERS: Mapping[str, EmbeddingLayer] = MappingProxyType(
    {
        layer.name: layer
        for layer in (
            EmbeddingLayer("bge_prompt", role="bge", stage_input="prompt"),
            EmbeddingLayer("bge_negative", role="bge", stage_input="negative_prompt"),
            EmbeddingLayer("clip_l", role="clip_l", stage_input="prompt"),
            EmbeddingLayer("clip_g", role="clip_g", stage_input="prompt"),
            EmbeddingLayer("clip_h", role="clip_h", stage_input="image"),
            EmbeddingLayer("face", role=FACES, stage_input="faces"),
        )
    }
)
"""Every layer by name, in the order in which their work is done where nothing else decides."""

STAGES: tuple[str, ...] = (REPLACEMENT, THUMBNAIL, *LAYERS)
"""Every stage of work on a picture. First whether it is what lay at its path, because somebody has just edited it and
looks for its rating; then the thumbnail, because it is what people see first."""


def text_layers_by_input() -> dict[StageInput, list[str]]:
    """The layers by the text that they are made from."""
    found: dict[StageInput, list[str]] = {}
    for layer in LAYERS.values():
        if layer.stage_input in ("prompt", "negative_prompt"):
            found.setdefault(layer.stage_input, []).append(layer.name)
    return found


def stages_for(facts: ImageFacts, *, faces: bool = True) -> tuple[str, ...]:
    """The stages that a picture with these facts needs; a text layer only where there is a text to embed.

    `faces` says whether any detector is set. Without one nobody waits for it: the picture is looked at when there is.
    """
    texts: dict[StageInput, str | None] = {
        "prompt": facts.metadata.prompt,
        "negative_prompt": facts.metadata.negative_prompt,
    }
    return (
        THUMBNAIL,
        *(
            layer.name
            for layer in LAYERS.values()
            if (
                faces
                if layer.stage_input == "faces"
                else layer.stage_input == "image" or (texts[layer.stage_input] or "").strip()
            )
        ),
    )


def role_of_stage(stage: str) -> str | None:
    """The role whose model does the work of a stage; None = it needs no model."""
    layer = LAYERS.get(stage)
    return None if layer is None else layer.role
