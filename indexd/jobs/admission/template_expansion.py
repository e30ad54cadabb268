"""Expands the templates and wildcards of a job: one job for each combination, with the choices that led to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from indexd.jobs.admission.slots import JobSlots, changed_job, read_slots, with_negative_parts
from indexd.jobs.admission.stages import stage_prompts
from indexd.jobs.admission.wildcard_files import WildcardFileError, WildcardFolder, WildcardSnapshot
from indexd.jobs.parsing.validation import FieldError, format_path
from indexd.jobs.parsing.yaml_guard import FieldPath
from indexd.templates.errors import TemplateError, TemplateSource
from indexd.templates.template import Combination, Template, normalize_prompt
from indexd_schemas.jobs.job import Job
from indexd_schemas.jobs.template import JobTemplate
from indexd_schemas.limits import PROMPT_CHARACTERS

TEMPLATE_SEED_BITS = 32
HUGE_COUNT = 10**15
"""Larger numbers of combinations are stated as powers of ten."""


@dataclass(frozen=True, slots=True)
class ExpandedJob:
    """One combination of a job: the job with its overrides applied, and the choices that led to it, by name.

    `template` is the name of the template file, or the prompt before expansion; None = the job has no template.
    """

    job: Job
    choices: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None


@dataclass(frozen=True, slots=True)
class ExpandedJobs:
    """The jobs of all combinations, in order. `source_files` are the files that they depend on, with the blake3 of each."""

    jobs: Sequence[ExpandedJob]
    total: int = 1
    """The number of combinations that there are."""
    source_files: Mapping[str, str] = field(default_factory=dict)


def has_template(job: Job) -> bool:
    """Whether the prompts of a job have template syntax."""
    return job.template is not None or job.prompt_syntax == "dynamic"


class TemplateExpander:
    """Expands the prompts of jobs."""

    def __init__(self, wildcards: Path, random_bits: Callable[[int], int]) -> None:
        """`wildcards` is the folder of the lists; `random_bits(n)` gives random seeds."""
        self._wildcards = WildcardFolder(wildcards)
        self._random_bits = random_bits

    def expand(self, job: Job) -> ExpandedJobs:
        """The jobs of all combinations of its template, or the first `count`. Raises FieldError."""
        if not has_template(job):
            return ExpandedJobs((ExpandedJob(job),))
        options = job.template or JobTemplate()
        sources = {path: text for path, text in _prompts(job) if text}
        if not sources:
            raise FieldError(("template",), "template: the job has no prompt to expand; write one")
        try:
            snapshot = self._wildcards.read()
            slots = read_slots(options.slots, snapshot)
            sources = with_negative_parts(sources, slots)
            template = self._compile(job, options, sources, slots, snapshot)
            count = job.count if job.seeds is None and job.count is not None else template.count
            if job.count is None and count > options.max:
                raise FieldError(("template",), _too_many_text(count, options.max))
            jobs = [_expanded_job(job, sources, slots, one) for one in islice(template.combinations(), count)]
        except TemplateError as error:
            raise _placed(error, snapshot) from None
        except WildcardFileError as error:
            raise FieldError(("template",) if job.template else ("prompt",), f"wildcards: {error}") from None
        return ExpandedJobs(jobs, template.count, snapshot.used_files())

    def _compile(
        self,
        job: Job,
        options: JobTemplate,
        sources: Mapping[FieldPath, str],
        slots: JobSlots,
        snapshot: WildcardSnapshot,
    ) -> Template:
        """The template in the order that the job asks for; random by default where `count` takes only some combinations."""
        texts = {format_path(path): TemplateSource(format_path(path), text) for path, text in sources.items()}
        seed = self._seed(job, options)
        template = Template(texts, snapshot.library, options.order or "product", seed, slots.slots)
        if options.order is None and job.count is not None and job.seeds is None and job.count < template.count:
            template = Template(texts, snapshot.library, "random", seed, slots.slots)
        return template

    def _seed(self, job: Job, options: JobTemplate) -> int:
        for seed in (options.seed, job.seed):
            if seed is not None and seed >= 0:
                return seed
        return self._random_bits(TEMPLATE_SEED_BITS)


def _too_many_text(count: int, most: int) -> str:
    is_huge = count > HUGE_COUNT
    number = f"at least 10^{len(str(count)) - 1}" if is_huge else f"{count}"
    raise_limit = "" if is_huge else f", or `template: {{max: {count}}}`"
    return (
        f"template: there are {number} combinations; a job without `count` makes at most {most}: "
        f"write `count` to take some of them{raise_limit}"
    )


def _prompts(job: Job) -> list[tuple[FieldPath, str]]:
    return [(("prompt",), job.prompt), (("negative_prompt",), job.negative_prompt), *stage_prompts(job)]


def _expanded_job(job: Job, sources: Mapping[FieldPath, str], slots: JobSlots, combination: Combination) -> ExpandedJob:
    single: Any = changed_job(job, combination.choices, slots)
    for path, text in zip(sources, combination.texts.values(), strict=True):
        normal = normalize_prompt(text)
        if len(normal) > PROMPT_CHARACTERS:
            where = format_path(path)
            raise FieldError(path, f"{where}: a combination has {len(normal)} characters; at most {PROMPT_CHARACTERS}")
        single = _replaced(single, path, normal)
    syntax = "a1111" if job.prompt_syntax == "dynamic" else job.prompt_syntax
    single = single.model_copy(update={"template": None, "prompt_syntax": syntax})
    file = job.template.name if job.template is not None else None
    return ExpandedJob(single, combination.choices, file or job.prompt)


def _replaced(value: Any, path: FieldPath, text: str) -> Any:
    """A copy of a model or list with the text at `path` replaced."""
    if not path:
        return text
    key, rest = path[0], path[1:]
    if isinstance(value, BaseModel):
        return value.model_copy(update={str(key): _replaced(getattr(value, str(key)), rest, text)})
    return [_replaced(one, rest, text) if index == key else one for index, one in enumerate(value)]


def _placed(error: TemplateError, snapshot: WildcardSnapshot) -> FieldError:
    """The error at the key of the job whose text led to it."""
    name = error.places[-1].source
    if name.startswith("template.slots."):
        return FieldError(("template", "slots", name.split(".")[2]), str(error))
    unusable = f" ({'; '.join(snapshot.problems[:3])})" if snapshot.problems and "no wildcard" in error.message else ""
    return FieldError(_path_of(name), f"{error}{unusable}")


def _path_of(name: str) -> FieldPath:
    """The inverse of `format_path`."""
    parts = name.replace("[", ".").replace("]", "").split(".")
    return tuple(int(part) if part.isdigit() else part for part in parts)
