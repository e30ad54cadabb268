"""Plans the render stages of a job: names are looked up, samplers resolved, and the size is followed from stage to stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from indexd.images.geometry import SizePx
from indexd.jobs.parsing.validation import FieldError, did_you_mean, format_path
from indexd.jobs.parsing.yaml_guard import FieldPath
from indexd.model_files import ModelCatalogue, UnknownModel
from indexd.render_stages.stage import RenderStage, StageSize, render_stages
from indexd_schemas import samplers
from indexd_schemas.jobs.job import Job
from indexd_schemas.recipe_part import FileKind, ModelRef, StageRecipe

MIN_SIDE_PX = 8


@dataclass(frozen=True, slots=True)
class StagePlanning:
    """What one stage of a job is planned with; see StagePlanner."""

    job: Job
    starts_finished: bool
    place: FieldPath
    size: StageSize
    catalogue: ModelCatalogue
    max_megapixels: float

    @property
    def job_kind(self) -> str:
        return self.job.kind

    def refusal(self, key: str, text: str) -> FieldError:
        place = (*self.place, key) if key else self.place
        return FieldError(place, f"{format_path(place)}: {text}")

    def find_model(self, kind: FileKind, name: str, key: str, also: tuple[str, ...] = ()) -> ModelRef:
        try:
            return self.catalogue.find_reference(kind, name)
        except UnknownModel as error:
            known = UnknownModel(str(error), (*also, *error.known))
            raise self.refusal(key, f"{error}{did_you_mean(name, known)}") from None

    def check_size(self, sides: SizePx, key: str, *, grown: bool = False) -> None:
        size, megapixels = f"{sides[0]}x{sides[1]}", sides[0] * sides[1] / 1e6
        if min(sides) < MIN_SIDE_PX:
            raise self.refusal(key, f"the image would be {size}; both sides must have {MIN_SIDE_PX} pixels at least")
        if megapixels > self.max_megapixels:
            before = self.size.sides
            what = f"{before[0]}x{before[1]} becomes {size}," if grown else f"{size} are"
            raise self.refusal(
                key,
                f"{what} {megapixels:.1f} megapixels; at most {self.max_megapixels:g} are allowed "
                "([generate] max_megapixels)",
            )

    def pass_settings(self, options: Any) -> dict[str, Any]:
        sampler, schedule = options.sampler, options.schedule
        if sampler is not None or schedule is not None:
            try:
                choice = samplers.resolve_sampler(sampler or self.job.sampler, schedule)
            except samplers.UnknownSampler as error:
                key = "schedule" if sampler is None or "no schedule" in str(error) else "sampler"
                raise self.refusal(key, str(error)) from None
            sampler, schedule = choice.sampler, choice.schedule
        kept = {key: getattr(options, key) for key in ("prompt", "negative_prompt", "steps", "cfg")}
        return kept | {"sampler": sampler, "schedule": schedule}


def plan_stages(
    job: Job, sides: SizePx, catalogue: ModelCatalogue, max_megapixels: float, *, starts_finished: bool
) -> tuple[StageRecipe, ...]:
    """The stages that a job switches on, in their order. `sides` is the size of the first pass. Raises FieldError."""
    size = StageSize(sides)
    parts: list[StageRecipe] = []
    for stage, options, place in stage_options(job):
        planning = StagePlanning(job, starts_finished, place, size, catalogue, max_megapixels)
        part, size = stage.plan(options, planning)
        parts.append(part)
    return tuple(parts)


def has_denoising_stage(job: Job) -> bool:
    """Whether a stage of the job needs a checkpoint."""
    return any(stage.denoises for stage, _, _ in stage_options(job))


def stage_prompts(job: Job) -> Iterator[tuple[FieldPath, str]]:
    """Every prompt that a stage of the job states, with its place in the job file."""
    for _, options, place in stage_options(job):
        for key in ("prompt", "negative_prompt"):
            if (text := getattr(options, key, None)) is not None:
                yield (*place, key), text
        for index, text in enumerate(getattr(options, "prompts", None) or ()):
            yield (*place, "prompts", index), text


def stage_options(job: Job) -> Iterator[tuple[RenderStage[Any, Any], Any, FieldPath]]:
    """The stages that a job switches on, their options, and the place of those in the job file."""
    for stage in render_stages():
        options = getattr(job, stage.name, None)
        if stage.is_list:
            yield from ((stage, one, (stage.name, index)) for index, one in enumerate(options or ()))
        elif options is not None:
            yield stage, options, (stage.name,)
