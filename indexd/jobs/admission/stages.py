"""The stages that a job switches on -> those of its recipe: names looked up, samplers resolved, sizes followed through.

The picture is followed from stage to stage, so that one that grows beyond the limit is refused at the stage where it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from indexd.images.geometry import SizePx, resized_size, scale_size, split_into_tiles
from indexd.jobs.admission.prompts import did_you_mean
from indexd.jobs.parsing.validation import FieldError, format_path
from indexd.model_files import ModelCatalogue, ModelFolders, UnknownModel
from indexd_schemas import samplers
from indexd_schemas.jobs.job import Job
from indexd_schemas.jobs.job_part import parse_sides
from indexd_schemas.jobs.stages import HIRES_UPSCALERS, MAX_TILE_PROMPTS, Detail, Hires, Refine, Resize, Upscale
from indexd_schemas.recipe import DetailRecipe, HiresRecipe, ModelRef, RefineRecipe, ResizeRecipe, UpscaleRecipe

SIDE_STEP_PX = 8
MIN_SIDE_PX = 8
ASSUMED_SCALE = 4
"""What an upscaler whose name does not tell is taken to make; the worker knows, and holds to the limit itself."""
_SCALE_IN_NAME = re.compile(r"(?<![0-9a-z])(?:x([1-9])|([1-9])x)(?![0-9])", re.IGNORECASE)

FieldPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class StageSize:
    """How large the picture is after a stage; `exact` is False behind a model whose factor is only assumed."""

    sides: SizePx
    is_exact: bool = True


class StageResolver:
    """Resolves the stages of jobs."""

    def __init__(self, catalogue: ModelCatalogue, max_megapixels: float) -> None:
        self._catalogue = catalogue
        self._max_megapixels = max_megapixels

    def resolve(self, job: Job, sides: SizePx, *, finished: bool) -> dict[str, Any]:
        """The stage fields of a recipe. `finished` = the job starts from a finished picture. Raises FieldProblem."""
        reached = StageSize(sides)
        stages: dict[str, Any] = {}
        if job.hires is not None:
            if finished:
                raise FieldError(
                    ("hires",),
                    f"hires: it works on latents, and {job.kind} starts from a finished picture; use `refine`",
                )
            if job.kind == "inpaint":
                raise FieldError(
                    ("hires",), "hires: inpaint keeps what lies around its mask as it is; use `upscale` or `refine`"
                )
            stages["hires"] = self._hires(job, job.hires, sides)
            reached = StageSize((stages["hires"].width, stages["hires"].height))
        stages["detail"] = tuple(self._detail(job, one, index) for index, one in enumerate(job.detail))
        if job.upscale is not None:
            stages["upscale"], reached = self._upscale(job.upscale, reached)
        if job.refine is not None:
            stages["refine"] = self._refine(job, job.refine, reached)
        if job.resize is not None:
            stages["resize"] = self._resize(job.resize, reached)
        return stages

    def _hires(self, job: Job, hires: Hires, sides: SizePx) -> HiresRecipe:
        if hires.size is not None and hires.scale is not None:
            raise FieldError(("hires", "size"), "hires.size: `scale` is there as well; keep one of the two")
        scale = hires.scale or 2.0
        width, height = parse_sides(hires.size) if hires.size else (_round_to_step(side * scale) for side in sides)
        if width % SIDE_STEP_PX or height % SIDE_STEP_PX or min(width, height) < 64:
            raise FieldError(
                ("hires", "size"), f"hires.size: both sides must be multiples of 8 from 64 (got {hires.size})"
            )
        self._check_size((width, height), ("hires", "size" if hires.size else "scale"))
        name = _normalize_name(hires.upscaler)
        known = name in HIRES_UPSCALERS
        return HiresRecipe(
            width=width,
            height=height,
            upscaler=name if known else None,
            model=None if known else self._find_upscaler(hires.upscaler, ("hires", "upscaler"), HIRES_UPSCALERS),
            tile=hires.tile,
            overlap=hires.overlap,
            denoise=float(hires.denoise),
            **_pass_overrides(job, hires, ("hires",)),
        )

    def _detail(self, job: Job, detail: Detail, index: int) -> DetailRecipe:
        place: FieldPath = ("detail", index)
        return DetailRecipe(
            detector=_find_model(self._catalogue.detectors, detail.detector, (*place, "detector")),
            kinds=tuple(detail.kinds),
            confidence=float(detail.confidence),
            max=detail.max,
            padding=float(detail.padding),
            size=detail.size,
            feather=float(detail.feather),
            denoise=float(detail.denoise),
            **_pass_overrides(job, detail, place),
        )

    def _upscale(self, upscale: Upscale, before: StageSize) -> tuple[UpscaleRecipe, StageSize]:
        model = self._find_upscaler(upscale.model, ("upscale", "model"))
        named = _SCALE_IN_NAME.search(model.name.rpartition("/")[2])
        makes = int(named[1] or named[2]) if named else ASSUMED_SCALE
        # In between the picture is as large as the model makes it.
        for factor in (makes, upscale.scale or makes):
            sides = scale_size(before.sides, factor)
            self._check_size(sides, ("upscale", "scale" if upscale.scale else "model"), before)
        recipe = UpscaleRecipe(model=model, scale=upscale.scale, tile=upscale.tile, overlap=upscale.overlap)
        return recipe, StageSize(sides, before.is_exact and upscale.scale is not None)

    def _refine(self, job: Job, refine: Refine, before: StageSize) -> RefineRecipe:
        padded = [-(-side // SIDE_STEP_PX) * SIDE_STEP_PX for side in before.sides]
        count = len(split_into_tiles(padded[0], padded[1], refine.tile, refine.overlap, SIDE_STEP_PX))
        if count > MAX_TILE_PROMPTS:
            raise FieldError(
                ("refine", "tile"),
                f"refine.tile: {_format_size(before.sides)} would be cut into {count} tiles; at most {MAX_TILE_PROMPTS} are allowed",
            )
        if refine.prompts is not None and before.is_exact and len(refine.prompts) != count:
            raise FieldError(
                ("refine", "prompts"),
                f"refine.prompts: {len(refine.prompts)} prompts, but {_format_size(before.sides)} is cut into {count} tiles",
            )
        return RefineRecipe(
            denoise=float(refine.denoise),
            tile=refine.tile,
            overlap=refine.overlap,
            prompts=None if refine.prompts is None else tuple(refine.prompts),
            **_pass_overrides(job, refine, ("refine",)),
        )

    def _resize(self, resize: Resize, before: StageSize) -> ResizeRecipe:
        width, height = parse_sides(resize.size) if resize.size else (None, None)
        recipe = ResizeRecipe(width=width, height=height, scale=resize.scale, max_side=resize.max_side)
        key = "size" if resize.size else "scale" if resize.scale else "max_side"
        self._check_size(resized_size(before.sides, recipe), ("resize", key), before if resize.scale else None)
        return recipe

    def _find_upscaler(self, name: str, place: FieldPath, also: tuple[str, ...] = ()) -> ModelRef:
        return _find_model(self._catalogue.upscalers, name, place, also)

    def _check_size(self, sides: SizePx, place: FieldPath, before: StageSize | None = None) -> None:
        megapixels = sides[0] * sides[1] / 1e6
        where = format_path(place)
        if min(sides) < MIN_SIDE_PX:
            raise FieldError(
                place,
                f"{where}: the picture would be {_format_size(sides)}; both sides must have {MIN_SIDE_PX} pixels at least",
            )
        if megapixels > self._max_megapixels:
            grown = (
                f"{_format_size(before.sides)} becomes {_format_size(sides)},"
                if before
                else f"{_format_size(sides)} are"
            )
            raise FieldError(
                place,
                f"{where}: {grown} {megapixels:.1f} megapixels; at most {self._max_megapixels:g} are allowed "
                "([generate] max_megapixels)",
            )


def _pass_overrides(job: Job, part: Hires | Detail | Refine, place: FieldPath) -> dict[str, Any]:
    """What a pass has of its own; its sampler by its canonical name."""
    sampler, schedule = part.sampler, part.schedule
    if sampler is not None or schedule is not None:
        try:
            choice = samplers.resolve_sampler(sampler or job.sampler, schedule, part.steps or job.steps)
        except samplers.UnknownSampler as error:
            key = "schedule" if sampler is None or "no schedule" in str(error) else "sampler"
            raise FieldError((*place, key), f"{format_path((*place, key))}: {error}") from None
        sampler, schedule = choice.sampler, choice.schedule
    return {
        "prompt": part.prompt,
        "negative_prompt": part.negative_prompt,
        "steps": part.steps,
        "cfg": None if part.cfg is None else float(part.cfg),
        "sampler": sampler,
        "schedule": schedule,
    }


def _find_model(shelf: ModelFolders, name: str, place: FieldPath, also: tuple[str, ...] = ()) -> ModelRef:
    try:
        return ModelRef(name=shelf.find(name).name)
    except UnknownModel as error:
        known = UnknownModel(str(error), (*also, *error.known))
        raise FieldError(place, f"{format_path(place)}: {error}{did_you_mean(name, known)}") from None


def _normalize_name(name: str) -> str:
    """A1111's `Latent (bicubic antialiased)` and the like as ours."""
    return "_".join(re.findall(r"[a-z0-9]+", name.casefold()))


def _round_to_step(side: float) -> int:
    return max(64, round(side / SIDE_STEP_PX) * SIDE_STEP_PX)


def _format_size(sides: SizePx) -> str:
    return f"{sides[0]}x{sides[1]}"
