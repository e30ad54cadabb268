"""The layers: what each is computed from, by which model, and which stages a picture needs.

No torch here; the models are behind the worker's calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from indexd.images.facts import ImageFacts
from indexd.store.records import Of
from indexd.worker.calls import FACES

THUMBNAIL = "thumbnail"
SUCCESSION = "succession"


@dataclass(frozen=True, slots=True)
class Layer:
    """One kind of vector: `role` names the model that makes it, `of` what it is made from."""

    name: str
    role: str
    of: Of


LAYERS: Mapping[str, Layer] = MappingProxyType(
    {
        layer.name: layer
        for layer in (
            Layer("bge_prompt", role="bge", of="prompt"),
            Layer("bge_negative", role="bge", of="negative_prompt"),
            Layer("clip_l", role="clip_l", of="prompt"),
            Layer("clip_g", role="clip_g", of="prompt"),
            Layer("clip_h", role="clip_h", of="image"),
            Layer("face", role=FACES, of="faces"),
        )
    }
)
"""Every layer by name, in the order in which their work is done where nothing else decides."""

STAGES: tuple[str, ...] = (SUCCESSION, THUMBNAIL, *LAYERS)
"""Every stage of work on a picture. First whether it is what lay at its path, because somebody has just edited it and
looks for its rating; then the thumbnail, because it is what people see first."""


def layers_of_texts() -> dict[Of, list[str]]:
    """The layers by the text that they are made from."""
    found: dict[Of, list[str]] = {}
    for layer in LAYERS.values():
        if layer.of in ("prompt", "negative_prompt"):
            found.setdefault(layer.of, []).append(layer.name)
    return found


def stages_for(facts: ImageFacts, *, faces: bool = True) -> tuple[str, ...]:
    """The stages that a picture with these facts needs; a text layer only where there is a text to embed.

    `faces` says whether any detector is set. Without one nobody waits for it: the picture is looked at when there is.
    """
    texts: dict[Of, str | None] = {"prompt": facts.metadata.prompt, "negative_prompt": facts.metadata.negative_prompt}
    return (
        THUMBNAIL,
        *(
            layer.name
            for layer in LAYERS.values()
            if (faces if layer.of == "faces" else layer.of == "image" or (texts[layer.of] or "").strip())
        ),
    )


def role_of(stage: str) -> str | None:
    """The role whose model does the work of a stage; None = it needs no model."""
    layer = LAYERS.get(stage)
    return None if layer is None else layer.role
