"""The index stages by name: each registers itself when its module is imported."""

from __future__ import annotations

from typing import TypeVar

from indexd.indexing.stages.index_stage import IndexStage
from indexd.registry import AlreadyRegistered
from indexd.store.records import StageInput

_STAGES: dict[str, IndexStage] = {}

StageClass = TypeVar("StageClass", bound=type[IndexStage])


def register_stage(stage_class: StageClass) -> StageClass:
    """A class decorator: registers one object of the class. Raises AlreadyRegistered for a name that is taken."""
    add_stage(stage_class())
    return stage_class


def add_stage(stage: IndexStage) -> None:
    """Register a stage. Raises AlreadyRegistered for a name that is taken."""
    known = _STAGES.get(stage.name)
    if known is not None and type(known) is not type(stage):
        raise AlreadyRegistered(f"index stage {stage.name!r} is {_class_name(known)} and {_class_name(stage)}")
    _STAGES[stage.name] = stage


def remove_stage(name: str) -> None:
    """Take a stage out again; for tests."""
    _STAGES.pop(name, None)


def all_stages() -> list[IndexStage]:
    """Every stage, in the order in which their work is done where nothing else decides."""
    return sorted(_STAGES.values(), key=lambda stage: stage.order)


def find_stage(name: str) -> IndexStage | None:
    """The stage of this name; None = a package that registered it is gone."""
    return _STAGES.get(name)


def text_layers_by_input() -> dict[StageInput, list[str]]:
    """The stages that work on a text, by which text that is: their tasks are made again when it changes."""
    found: dict[StageInput, list[str]] = {}
    for stage in all_stages():
        if stage.needs in ("prompt", "negative_prompt"):
            found.setdefault(stage.needs, []).append(stage.name)
    return found


def _class_name(stage: IndexStage) -> str:
    return f"{type(stage).__module__}.{type(stage).__qualname__}"
