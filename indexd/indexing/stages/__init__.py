"""The index stages. A stage is one file in this package: a class that registers itself (see `index_stage.IndexStage`).

Other packages register theirs through the entry-point group of `indexd.registry`. No model library is imported here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Mapping
from types import MappingProxyType

from indexd.image_metadata.model import ImageFacts
from indexd.indexing.stages.attributes import AttributeStage
from indexd.indexing.stages.embedding import EmbeddingStage
from indexd.indexing.stages.faces import FaceStage
from indexd.indexing.stages.registry import all_stages, text_layers_by_input
from indexd.indexing.stages.thumbnail import THUMBNAIL
from indexd.store.records import StageInput
from indexd_schemas.settings import Settings

__all__ = [
    "LAYERS",
    "THUMBNAIL",
    "attribute_stages",
    "enabled_stages",
    "stage_inputs",
    "stages_for",
    "text_layers_by_input",
]

# At import and not later: the daemon may have no file handle left when it needs a stage.
for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

LAYERS: Mapping[str, EmbeddingStage | FaceStage] = MappingProxyType(
    {stage.name: stage for stage in all_stages() if isinstance(stage, EmbeddingStage | FaceStage)}
)
"""The stages that make embeddings, by name: the layers that a search compares."""


def enabled_stages(settings: Settings) -> frozenset[str]:
    """The optional stages that the settings switch on."""
    return frozenset(settings.stages) | ({FaceStage.name} if settings.faces.detectors else set())


def attribute_stages() -> list[AttributeStage]:
    """The stages that state attributes."""
    return [stage for stage in all_stages() if isinstance(stage, AttributeStage)]


def stages_for(facts: ImageFacts, enabled: Collection[str]) -> tuple[str, ...]:
    """The stages that a new image needs. `enabled` names the optional stages that are switched on."""
    return tuple(
        stage.name
        for stage in all_stages()
        if (not stage.is_optional or stage.name in enabled) and stage.applies_to(facts)
    )


def stage_inputs(enabled: Collection[str]) -> dict[str, StageInput]:
    """What each stage that images need works on, by stage; `enabled` as in `stages_for`."""
    return {stage.name: stage.needs for stage in all_stages() if not stage.is_optional or stage.name in enabled}
