"""`indexd query --emit-job`: writes the recipe of the best hit as a job file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from indexd.cli.support.printing import print_notice
from indexd.cli.support.session import load_config, open_operations
from indexd.errors import IndexdError, NothingFound, UsageError

if TYPE_CHECKING:
    from indexd.image_metadata.model import ImageMetadata
    from indexd.jobs.export.job_file import JobFile
    from indexd_schemas.api.output import ImageSummary
    from indexd_schemas.recipe import Recipe

JOB_SUFFIXES = (".yaml", ".yml")


def check_job_target(target: Path) -> None:
    """Raise before the search when the job file cannot be written."""
    if target.suffix.lower() not in JOB_SUFFIXES:
        raise UsageError(f"--emit-job: a job file ends in .yaml (got {target})")
    if os.path.lexists(target):
        raise IndexdError(f"{target} is there already and is left as it is; name another file")
    if not target.absolute().parent.is_dir():
        raise IndexdError(f"there is no folder {target.absolute().parent}; make it first")


def emit_job(image: ImageSummary, target: Path) -> None:
    """Write the job that makes `image` again: exactly where it carries our recipe, else as far as its metadata tells.

    What is missing is said on stderr.
    """
    made = _read_metadata(image)
    name = image.path or f"#{image.id}"
    try:
        job = _job_from_recipe(made, name) or _job_from_metadata(made, image)
    except IndexdError as error:
        raise IndexdError(f"no job can be made of {name}: {error}") from None
    by = made.generator_version if made.generator == "indexd" else made.generator
    _write_atomically(
        job.render(f"The recipe of {name} (made by {by or 'an unknown program'}), written by indexd query --emit-job."),
        target,
    )
    for remark in job.remarks:
        print_notice(f"not taken over as it was: {remark}")
    print_notice(f"the recipe of {name} is in {target}")


def _job_from_recipe(metadata: ImageMetadata, name: str) -> JobFile | None:
    """The job of the recipe that the image carries; None where it carries none."""
    from indexd.jobs.export.from_recipe import job_from_recipe
    from indexd.jobs.export.replay import parse_recipe

    recipe = parse_recipe(metadata, name)
    if recipe is None:
        return None
    found = {content: _find_path_by_hash(content) for content in recipe.images()}
    job = job_from_recipe(recipe, {content: path for content, path in found.items() if path is not None})
    _note_missing_models(job, recipe)
    return job


def _note_missing_models(job: JobFile, recipe: Recipe) -> None:
    """Notes about models that are missing here."""
    from indexd.jobs.admission.regenerate import lookup_problem
    from indexd.model_files import ModelCatalogue

    shelves = ModelCatalogue.from_config(load_config())
    named = (
        [("model", partial(shelves.find_usable, "checkpoint"), recipe.model.name)] if recipe.model is not None else []
    )
    named += [(f"loras: {lora.name}", partial(shelves.find_usable, "lora"), lora.name) for lora in recipe.loras]
    for what, find, name in named:
        problem = lookup_problem(find)(name)
        if problem is not None:
            job.remarks.append(f"{what}: {problem}")


def _job_from_metadata(metadata: ImageMetadata, image: ImageSummary) -> JobFile:
    from indexd.jobs.admission.regenerate import lookup_problem
    from indexd.jobs.export.from_metadata import job_from_metadata
    from indexd.model_files import ModelCatalogue

    shelves = ModelCatalogue.from_config(load_config())
    return job_from_metadata(
        metadata,
        (image.width, image.height),
        None if metadata.input_hash is None else _find_path_by_hash(metadata.input_hash),
        lookup_problem(partial(shelves.find_usable, "checkpoint")),
        lookup_problem(partial(shelves.find_usable, "lora")),
    )


def _read_metadata(image: ImageSummary) -> ImageMetadata:
    """The metadata of the file, or of the index when the file is missing, changed or without metadata."""
    from indexd.fs.safe_open import open_regular
    from indexd.image_metadata.model import ImageMetadata, MetadataLora
    from indexd.images.image_reader import read_image
    from indexd.images.sidecar_texts import read_sidecars

    if image.path is not None:
        path = os.fsencode(image.path)
        try:
            with open_regular(os.path.realpath(path)) as file:
                facts = read_image(file, os.fstat(file.fileno()).st_size, image.path, lambda: read_sidecars(path))
            made = facts.metadata
            # The index may have metadata that the file lacks, for example from a deleted sidecar file.
            if facts.content_hash.hex() == image.hash and (made.prompt is not None or made.seed is not None):
                return made
        except (OSError, IndexdError):
            pass
    return ImageMetadata(
        generator=image.generator,
        generator_version=image.generator_version,
        prompt=image.prompt,
        negative_prompt=image.negative_prompt,
        seed=image.seed,
        steps=image.steps,
        cfg=image.cfg,
        sampler=image.sampler,
        schedule=image.schedule,
        denoise=image.denoise,
        model_name=image.model,
        model_hash=image.model_hash,
        loras=tuple(MetadataLora(use.name, use.weight, use.text_weight, use.hash) for use in image.loras),
    )


def _find_path_by_hash(content: str) -> str | None:
    """Path of a source image, found by its content."""
    from indexd.api.operations.images import show
    from indexd_schemas.api.requests import ImageSelector

    try:
        with open_operations() as operations:
            return operations.call(show, ImageSelector(target=f"hash:{content}")).image.path
    except (ValueError, NothingFound):
        return None


def _write_atomically(text: str, target: Path) -> None:
    # A hidden name with a temporary extension: the inbox reads only the finished file.
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(text, "utf-8", newline="\n")
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise IndexdError(f"cannot write {target}: {error.strerror or error}") from None
