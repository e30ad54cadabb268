"""Plans renders: a parsed job -> one complete recipe for each image. It reads files and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from indexd.jobs.admission.conditioning import ConditioningRequest, resolve_conditioning
from indexd.jobs.admission.input_selection import InputSelector
from indexd.jobs.admission.inputs import InputImage, read_input_image
from indexd.jobs.admission.masks import MaskResolver, ResolvedMask
from indexd.jobs.admission.prompts import PromptResolver
from indexd.jobs.admission.regenerate import ImageRecipeReader
from indexd.jobs.admission.scoring import ScoreValidator
from indexd.jobs.admission.series import Series
from indexd.jobs.admission.stages import has_denoising_stage, plan_stages
from indexd.jobs.admission.template_expansion import ExpandedJob, ExpandedJobs, TemplateExpander, has_template
from indexd.jobs.kinds import PlannedItem
from indexd.jobs.parsing.validation import FieldError, did_you_mean
from indexd.jobs.parsing.yaml_guard import FieldPath
from indexd.jobs.render_kind import planned_render
from indexd.model_files import ModelCatalogue, UnknownModel
from indexd.name_key import name_key
from indexd_schemas import samplers
from indexd_schemas.image_format import DEFAULT_QUALITY, LOSSLESS_FORMATS, PNG, OutputEncoding
from indexd_schemas.jobs.input_selection import InputSelection
from indexd_schemas.jobs.job import Job
from indexd_schemas.jobs.job_part import parse_sides
from indexd_schemas.jobs.job_values import JobOutput
from indexd_schemas.limits import MAX_SEED, MAX_SIDE_PX, MIN_SIDE_PX, SIZE_STEP_PX
from indexd_schemas.noise import RecipeNoise
from indexd_schemas.recipe import InputRef, Recipe, RecipeKind, RecipeVariation
from indexd_schemas.recipe_part import ModelRef

DEFAULT_SIDE_PX = 1024
_OWN_VAE_NAMES = ("automatic", "none")
# Other programs draw and accept 32 bits, so a seed can be used there as well.
RANDOM_SEED_BITS = 32


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What the settings allow one job, and how they save images."""

    max_images: int
    max_megapixels: float
    encoding: OutputEncoding = PNG


@dataclass(frozen=True, slots=True)
class InputSources:
    """The sources of existing images: selected, masked, and read for their recipes."""

    selector: InputSelector
    masks: MaskResolver
    recipes: ImageRecipeReader


@dataclass(frozen=True, slots=True)
class _Source:
    """What the renders of a job start from, as the arguments of `JobPlanner.plan`; `read_input` reads each image once."""

    kind: RecipeKind
    image: InputImage | None
    denoise: float
    mask: ResolvedMask | None
    size: tuple[int, int] | None
    finished: bool
    read_input: Callable[[str, FieldPath], InputImage]


class JobPlanner:
    """Looks up what a job names and draws its seeds."""

    def __init__(
        self,
        catalogue: ModelCatalogue,
        prompts: PromptResolver,
        sources: InputSources,
        score_validator: ScoreValidator,
        limits: JobLimits,
        random_bits: Callable[[int], int],
        templates: TemplateExpander,
        preprocessor_models: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`preprocessor_models` are the paths of the models that make control maps, by type."""
        self._catalogue = catalogue
        self._prompts = prompts
        self._selector = sources.selector
        self.masks = sources.masks
        self.recipes = sources.recipes
        self._score_validator = score_validator
        self._limits = limits
        self._random_bits = random_bits
        self._templates = templates
        self._preprocessor_models = preprocessor_models

    def plan(
        self,
        job: Job,
        kind: RecipeKind,
        image: InputImage | None = None,
        denoise: float = 0.0,
        *,
        mask: ResolvedMask | None = None,
        size: tuple[int, int] | None = None,
        finished: bool = False,
    ) -> list[PlannedItem]:
        """One recipe for each combination of the job and each seed. `denoise` says how far `image` is changed; `mask` and `size` (of the work) are of inpaint.

        `finished` = the job starts from a finished image: it keeps its size, and only the image stages change it.
        """
        source = _Source(kind, image, denoise, mask, size, finished, cache(self.read_input))
        expanded = self._templates.expand(job)
        items = [item for one, seeds in self._seeded(job, expanded) for item in self._plan_expanded(one, seeds, source)]
        if expanded.source_files:
            items[0] = replace(items[0], settings={**items[0].settings, "template_files": dict(expanded.source_files)})
        return items

    def _seeded(
        self, job: Job, expanded: ExpandedJobs
    ) -> Iterator[tuple[ExpandedJob, list[tuple[int, RecipeVariation | None]]]]:
        """Each expanded job with its seeds: all seeds of the job, or one seed for each combination of a template."""
        jobs = expanded.jobs
        one_each = has_template(job) and job.seeds is None
        seeds = self.resolve_seeds(job.model_copy(update={"count": len(jobs)}) if one_each else job)
        if not one_each:
            seeds = seeds * len(jobs)
            self.check_image_count(len(seeds))
        seeded = list(zip(seeds, self.resolve_variations(job, len(seeds)), strict=True))
        share = len(seeds) // len(jobs)
        for index, one in enumerate(jobs):
            yield one, seeded[index * share : (index + 1) * share]

    def _plan_expanded(
        self, expanded: ExpandedJob, seeds: list[tuple[int, RecipeVariation | None]], source: _Source
    ) -> list[PlannedItem]:
        job, image, mask, finished = expanded.job, source.image, source.mask, source.finished
        width, height = (
            self._input_size(job, image) if finished and image else source.size or self.resolve_size(job, image)
        )
        # What is worked on alone is pasted into the whole image before the stages come.
        sides = (image.width, image.height) if image and mask and mask.ref.only_masked else (width, height)
        stages = plan_stages(job, sides, self._catalogue, self._limits.max_megapixels, starts_finished=finished)
        denoises = not finished or has_denoising_stage(job)
        sampler = self.resolve_sampler(job)
        prompt = self._prompts.resolve(job)
        conditioning = resolve_conditioning(job, self._catalogue, self._preprocessor_models, source.read_input, image)
        if not denoises:
            conditioning = ConditioningRequest()
        scores = self._score_validator.requested_scores(job, prompt.prompt)
        model, vae = self.resolve_model_and_vae(job) if denoises else (None, None)
        mask_image = None if mask is None else mask.image
        images = {one.content_hash: one.path for one in (image, mask_image, *conditioning.images) if one is not None}
        encoding = self.resolve_encoding(job.output)
        noise = RecipeNoise.model_validate(job.noise.model_dump()) if job.noise is not None else None
        return [
            planned_render(
                Recipe(
                    kind=source.kind,
                    prompt=prompt.prompt,
                    negative_prompt=job.negative_prompt,
                    prompt_syntax="a1111" if job.prompt_syntax == "dynamic" else job.prompt_syntax,
                    seed=seed,
                    variation=variation,
                    noise=noise,
                    width=width,
                    height=height,
                    steps=job.steps,
                    step_counting=job.step_counting if image is not None else "taken",
                    cfg=job.cfg,
                    cfg_rescale=job.cfg_rescale,
                    sampler=sampler.sampler,
                    schedule=sampler.schedule,
                    timesteps=job.timesteps,
                    clip_skip=job.clip_skip,
                    model=model,
                    vae=vae,
                    loras=prompt.loras if denoises else (),
                    embeddings=prompt.embeddings if denoises else (),
                    input=None
                    if image is None
                    else InputRef(hash=image.content_hash, name=image.name, denoise=source.denoise),
                    mask=None if mask is None else mask.ref,
                    control=conditioning.control,
                    reference=conditioning.reference,
                    stages=stages,
                    template=expanded.template,
                    choices=dict(expanded.choices),
                    score=scores,
                    output=None if encoding == PNG else encoding,
                ),
                images,
                prompt.notes,
            )
            for seed, variation in seeds
        ]

    def draw_seed(self) -> int:
        """A random seed."""
        return self._random_bits(RANDOM_SEED_BITS)

    def check_series(self, series: Series, images_per_combination: int = 1) -> None:
        """Raise FieldError where a series makes more images than a job may."""
        count = series.count * images_per_combination
        if count > self._limits.max_images:
            each = f" with {images_per_combination} images each" if images_per_combination > 1 else ""
            raise FieldError(
                series.source,
                f"the series {series.describe()}{each} makes {count} images; a job makes at most {self._limits.max_images} "
                "([generate] max_images_per_job)",
            )

    def resolve_encoding(self, output: JobOutput) -> OutputEncoding:
        """Format and quality of the images. Raises FieldError."""
        default = self._limits.encoding
        chosen = output.format or default.format
        if output.quality is None:
            return (
                default if chosen == default.format else OutputEncoding(format=chosen, quality=DEFAULT_QUALITY[chosen])
            )
        if output.quality == "lossless" and chosen not in LOSSLESS_FORMATS:
            raise FieldError(
                ("output", "quality"),
                f"output.quality: {chosen} is not lossless here; use {' or '.join(LOSSLESS_FORMATS)}",
            )
        if output.quality != "lossless" and chosen == "png":
            raise FieldError(
                ("output", "quality"), "output.quality: png is lossless; leave `quality` out, or set `format`"
            )
        return OutputEncoding(format=chosen, quality=None if output.quality == "lossless" else output.quality)

    def resolve_seeds(self, job: Job) -> list[int]:
        """The seed of every item, drawn at random where the job states none. Raises FieldError over the limit."""
        if job.seeds is not None:
            seeds = self._listed_seeds(job, job.seeds)
        else:
            count = job.count or 1
            self._check_count(count, "count")
            if job.seed is None or job.seed < 0:
                seeds = [self.draw_seed() for _ in range(count)]
            else:
                seeds = list(range(job.seed, job.seed + count))
            if job.variation is not None:
                # As A1111 does: many variations of one image, not one of many.
                seeds = seeds[:1] * count
        if seeds[-1] > MAX_SEED:
            raise FieldError(("seed",), f"seed: counting up {job.count} images from there passes {MAX_SEED}")
        return seeds

    def resolve_variations(self, job: Job, count: int) -> list[RecipeVariation | None]:
        """The second noise of every image, its seed counted up. Raises FieldError when that passes the last seed."""
        variation = job.variation
        if variation is None:
            return [None] * count
        first = variation.seed
        if first is None or first < 0:
            first = self.draw_seed()
        if first + count - 1 > MAX_SEED:
            raise FieldError(
                ("variation", "seed"), f"variation.seed: counting up {count} images from there passes {MAX_SEED}"
            )
        return [RecipeVariation(seed=first + index, strength=variation.strength) for index in range(count)]

    def _listed_seeds(self, job: Job, seeds: list[int]) -> list[int]:
        if job.seed is not None:
            raise FieldError(("seed",), "seed: `seeds` is there as well; keep one of the two")
        if not seeds:
            raise FieldError(("seeds",), "seeds: the list is empty")
        if job.count is not None and job.count != len(seeds):
            text = f"count: {job.count} images, but `seeds` has {len(seeds)}; leave `count` out"
            raise FieldError(("count",), text)
        self._check_count(len(seeds), "seeds")
        return seeds

    def _check_count(self, count: int, key: str) -> None:
        if count > self._limits.max_images:
            raise FieldError(
                (key,),
                f"{key}: {count} images; a job makes at most {self._limits.max_images} ([generate] max_images_per_job)",
            )

    def resolve_size(self, job: Job, image: InputImage | None = None) -> tuple[int, int]:
        """Width and height in pixels; what is left out is taken from the source image, else 1024."""
        width, height, key = job.width, job.height, "height" if job.height else "width"
        if job.size is not None:
            if width is not None or height is not None:
                raise FieldError(("size",), "size: `width` or `height` is there as well; keep one way")
            width, height = parse_sides(job.size)
            key = "size"
        source = (image.width, image.height) if image else (DEFAULT_SIDE_PX, DEFAULT_SIDE_PX)
        sides = (width or _round_down_to_step(source[0]), height or _round_down_to_step(source[1]))
        _check_sides(sides, "name a `size`")
        self._check_megapixels(sides, key if job.size or job.width or job.height else "input")
        return sides

    def _check_megapixels(self, sides: tuple[int, int], key: str) -> None:
        megapixels = sides[0] * sides[1] / 1e6
        if megapixels > self._limits.max_megapixels:
            raise FieldError(
                (key,),
                f"{key}: {sides[0]}x{sides[1]} are {megapixels:.1f} megapixels; "
                f"at most {self._limits.max_megapixels:g} are allowed ([generate] max_megapixels)",
            )

    def _input_size(self, job: Job, image: InputImage) -> tuple[int, int]:
        """The size of a finished image, which a job does not choose."""
        given = next((key for key in ("size", "width", "height") if getattr(job, key) is not None), None)
        if given is not None:
            raise FieldError((given,), f"{given}: {job.kind} starts with the size of its input; use `resize`")
        _check_sides((image.width, image.height), "crop or shrink the image first")
        self._check_megapixels((image.width, image.height), "input")
        return image.width, image.height

    def resolve_sampler(self, job: Job) -> samplers.SamplerChoice:
        """The canonical sampler and schedule; DPM++ 2M Karras where the job names neither."""
        schedule = job.schedule
        if schedule is None and "sampler" not in job.model_fields_set:
            schedule = "automatic"
        try:
            return samplers.resolve_sampler(job.sampler, schedule)
        except samplers.UnknownSampler as error:
            key = "schedule" if "sampler" not in job.model_fields_set or "no schedule" in str(error) else "sampler"
            raise FieldError((key,), f"{key}: {error}") from None

    def resolve_model_and_vae(self, job: Job) -> tuple[ModelRef, ModelRef | None]:
        """The checkpoint's name, and the VAE's (None = the checkpoint's own). Raises FieldError where there is no VAE."""
        model, vae = self.resolve_model(job), self.resolve_vae(job)
        if vae is None and not self._catalogue.has_own_vae(model.name):
            raise FieldError(("model",), f"model: checkpoint {model.name!r} has no VAE; name one with `vae:`")
        return model, vae

    def resolve_model(self, job: Job) -> ModelRef:
        """The checkpoint's name; its file is found again when the render starts."""
        try:
            if job.model:
                return self._catalogue.find_reference("checkpoint", job.model)
            file = self._catalogue.default_checkpoint()
            self._catalogue.require_usable("checkpoint", file)
        except UnknownModel as error:
            raise FieldError(("model",), f"model: {error}{did_you_mean(job.model or '', error)}") from None
        return ModelRef(name=file.name)

    def resolve_vae(self, job: Job) -> ModelRef | None:
        """The VAE's name; None = the checkpoint's own, which A1111 calls Automatic and None."""
        if job.vae is None:
            return None
        try:
            return self._catalogue.find_reference("vae", job.vae)
        except UnknownModel as error:
            if name_key(job.vae) in _OWN_VAE_NAMES:
                return None
            raise FieldError(("vae",), f"vae: {error}{did_you_mean(job.vae, error)}") from None

    def select_inputs(self, selection: InputSelection) -> list[InputImage]:
        """The images to start from, each with its hash taken now. Raises FieldError."""
        return self._selector.select(selection)

    def read_input(self, text: str, path: FieldPath) -> InputImage:
        """The image that a job names as `text` at `path`, its hash taken now. Raises FieldError."""
        return read_input_image(self._selector.resolve_path(text, path), path)

    def check_image_count(self, count: int) -> None:
        """Raise FieldError where a job has more items than allowed."""
        if count > self._limits.max_images:
            raise FieldError(
                ("input",),
                f"input: {count} images, one for each input and seed; a job makes at most {self._limits.max_images} "
                "([generate] max_images_per_job)",
            )


def _check_sides(sides: tuple[int, int], cure: str) -> None:
    """Raise FieldError for a size of an input that is larger than a stated size may be."""
    if max(sides) > MAX_SIDE_PX:
        raise FieldError(("input",), f"input: {sides[0]}x{sides[1]} pixels; a side has at most {MAX_SIDE_PX}, {cure}")


def _round_down_to_step(side: int) -> int:
    return max(MIN_SIDE_PX, side // SIZE_STEP_PX * SIZE_STEP_PX)
