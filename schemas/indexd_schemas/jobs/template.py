"""`template:` of a job: prompts with template syntax, and which of their combinations are made."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from indexd_schemas.jobs.job_part import JobPart
from indexd_schemas.limits import MAX_SEED

TemplateOrder = Literal["product", "random", "cyclic"]
DEFAULT_MAX_COMBINATIONS = 500
SLOT_KEYS = (
    *("steps", "cfg", "cfg_rescale", "sampler", "schedule", "clip_skip", "width", "height", "size", "model", "vae"),
    *("hires", "detail", "upscale", "refine", "resize", "control", "reference"),
)
"""Keys of the job that an option of a slot may set."""

SlotValues: TypeAlias = str | list[Any] | dict[str, Any]
_SLOT_NAME = re.compile(r"[A-Za-z_][\w-]*")


def _check_slots(slots: dict[str, Any]) -> dict[str, SlotValues]:
    for name, values in slots.items():
        if _SLOT_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a slot; use letters, digits, - and _, and begin with a letter")
        if not isinstance(values, str | list | dict):
            raise ValueError(f"{name} must be the name of a list or file, a list, or a mapping of keys to values")
        entries = list(values.values()) if isinstance(values, dict) else values if isinstance(values, list) else []
        if any(isinstance(one, list) for one in entries):
            raise ValueError(f"the options of {name} must be texts or mappings of parts, not lists")
    return slots


_VALUE_SCHEMA = {"type": ["string", "number", "null", "object"]}
Slots = Annotated[
    dict[str, Any],
    AfterValidator(_check_slots),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": _VALUE_SCHEMA},
                    {"type": "object", "additionalProperties": _VALUE_SCHEMA},
                ]
            },
        }
    ),
]


class JobTemplate(JobPart):
    """Expands template syntax in the prompts: variants, wildcards, variables and slots (docs/templates.md)."""

    name: str | None = Field(
        None,
        min_length=1,
        max_length=400,
        description="Template file in the folder of templates; its keys apply where the job has none. A bare text is this name.",
        examples=["portraits"],
    )
    order: TemplateOrder | None = Field(
        None,
        description="Order of the combinations: product, random (without repeats) or cyclic. "
        "Default: product, or random if `count` takes only some of them.",
        examples=["random"],
    )
    seed: int | None = Field(
        None,
        ge=-1,
        le=MAX_SEED,
        description="Seed of the random order and of random slots. Default or -1: random.",
        examples=[7],
    )
    max: int = Field(
        DEFAULT_MAX_COMBINATIONS,
        ge=1,
        description="Refuse a job without `count` that has more combinations.",
        examples=[2000],
    )
    slots: Slots = Field(
        default_factory=dict,
        max_length=100,
        description="Named lists for `{Name}`: a wildcard or file, a list, or keys with a text or with parts "
        "(prompt, negative, loras, steps, …).",
        examples=[{"Hair": ["bob", "braid"], "Mood": {"sad": {"prompt": "crying", "negative": "smile", "steps": 40}}}],
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value
