"""The job kind `regenerate`: images are rendered again by their own recipes, with changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from indexd.jobs.admission.inputs import InputImage
from indexd.jobs.admission.planner import JobPlanner
from indexd.jobs.kinds import PlannedItem, find_kind, job_kind
from indexd.jobs.parsing.validation import FieldError, with_added_stages
from indexd.jobs.render_kind import RenderKind
from indexd_schemas.jobs.job import JOB_KINDS, RegenerateJob
from indexd_schemas.jobs.job_part import parse_sides
from indexd_schemas.validation_messages import describe_error

# The keys of the image's own recipe that a change of another key removes.
_REPLACED_KEYS = {"size": ("width", "height"), "seeds": ("seed",), "sampler": ("schedule",)}

_PROMPT_KEYS = {"prompt", "negative_prompt", "prompt_syntax", "template"}


@job_kind
class RegenerateKind(RenderKind[RegenerateJob]):
    """What the kind of each image plans for its recipe and the keys that the job changes."""

    name, schema = "regenerate", RegenerateJob

    def plan(self, job: RegenerateJob, planner: JobPlanner) -> list[PlannedItem]:
        changes = job.model_dump(exclude_unset=True, exclude={"kind", "input", "output", "priority"})
        if encoding := job.output.model_dump(exclude_unset=True, include={"format", "quality"}):
            changes["output"] = encoding
        return [item for image in planner.select_inputs(job.input) for item in _regenerate_one(changes, planner, image)]


def _regenerate_one(changes: dict[str, Any], planner: JobPlanner, image: InputImage) -> list[PlannedItem]:
    own = planner.recipes.read_job(image)
    _scale_hires(own.keys, changes)
    gone = {key for change in changes for key in _REPLACED_KEYS.get(change, ())}
    keys = {key: value for key, value in own.keys.items() if key not in gone} | changes
    keys["output"] = _output(own.keys.get("output", {}), changes.get("output", {}))
    kind = keys["kind"]
    if "denoise" in changes and "denoise" not in JOB_KINDS[kind].model_fields:
        raise FieldError(("denoise",), f"denoise: {image.name} was not made from another image ({kind})")
    try:
        job = with_added_stages(JOB_KINDS[kind]).model_validate(keys)
        items = find_kind(kind).plan(job, planner)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FieldError(
            ("input",), f"input: {image.name} cannot be made again: {where}: {describe_error(first)}"
        ) from None
    except FieldError as problem:
        key = str(problem.path[0])
        if key in changes:
            raise
        text = f"input: {image.name} cannot be made again as it was: {problem}"
        raise FieldError(("input",), f"{text} (write another `{key}` into the job to change that)") from None
    origin = {} if changes.keys() & _PROMPT_KEYS else own.origin
    return [
        replace(
            item,
            settings={**item.settings, "recipe": {**item.settings["recipe"], **origin}},
            name_values={**origin.get("choices", {}), **item.name_values},
            notes=tuple(own.remarks),
        )
        for item in items
    ]


def _output(own: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Format and quality; the quality of one format means nothing for another."""
    keeps_quality = changes.get("format", own.get("format")) == own.get("format")
    return (own if keeps_quality else {}) | changes


def _scale_hires(own: dict[str, Any], changes: dict[str, Any]) -> None:
    """A second pass of another first size grows by the same factor, not to the old size."""
    size = own.get("hires", {}).get("size")
    if size is None or "hires" in changes or not {"size", "width", "height"} & changes.keys():
        return
    hires = {key: value for key, value in own["hires"].items() if key != "size"}
    own["hires"] = hires | {"scale": parse_sides(size)[0] / own["width"]}
