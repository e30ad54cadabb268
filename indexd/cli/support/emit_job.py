"""`indexd query --emit-job`: writes the recipe of the best hit as a job file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from indexd.cli.support.printing import print_notice
from indexd.cli.support.session import load_config, open_operations
from indexd.errors import IndexdError, NothingFound, UsageError

if TYPE_CHECKING:
    from indexd.image_metadata.model import ImageMetadata
    from indexd.jobs.export.job_file import JobFile
    from indexd_schemas.api.output import ImageSummary, ShownImage
    from indexd_schemas.recipe import Recipe

JOB_SUFFIXES = (".yaml", ".yml")
_KEYS_OF_FILES = {
    "checkpoint": "model",
    "lora": "loras",
    "embedding": "prompt",
    "controlnet": "control",
    "ip_adapter": "reference",
}
"""The key of a job that names a file of this kind, where it has another name."""


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
    _note_number_format(job, recipe)
    return job


def _note_missing_models(job: JobFile, recipe: Recipe) -> None:
    """Notes about models that are missing here."""
    from indexd.jobs.admission.regenerate import lookup_problem
    from indexd.model_files import ModelCatalogue

    problem = lookup_problem(ModelCatalogue.from_config(load_config()))
    for kind, name in recipe.file_keys():
        if kind != "image":
            missing = problem(kind, name)
            if missing is not None:
                job.remarks.append(f"{_KEYS_OF_FILES.get(kind, kind)}: {name}: {missing}")


def _note_number_format(job: JobFile, recipe: Recipe) -> None:
    """Notes a number format that the settings here do not give; `auto` is whatever suits the device, and never fp8."""
    chosen = load_config().settings.models.generator.dtype
    if recipe.dtype not in (None, chosen) and (chosen != "auto" or recipe.dtype == "fp8"):
        job.remarks.append(f"dtype: made in {recipe.dtype}; [models.generator] dtype is {chosen} here")


def _job_from_metadata(metadata: ImageMetadata, image: ImageSummary) -> JobFile:
    from indexd.jobs.admission.regenerate import lookup_problem
    from indexd.jobs.export.from_metadata import job_from_metadata
    from indexd.model_files import ModelCatalogue

    return job_from_metadata(
        metadata,
        (image.width, image.height),
        None if metadata.input_hash is None else _find_path_by_hash(metadata.input_hash),
        lookup_problem(ModelCatalogue.from_config(load_config())),
    )


def _read_metadata(image: ImageSummary) -> ImageMetadata:
    """The metadata of the file, or of the index when the file is missing, changed or without metadata."""
    from indexd.fs.safe_open import open_regular
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
    return _parse_stored_texts(image)


def _parse_stored_texts(image: ImageSummary) -> ImageMetadata:
    """The metadata by the columns of the index, and by the texts that it keeps where the columns state nothing."""
    from dataclasses import fields, replace

    from indexd.api.operations.images import show
    from indexd.image_metadata.model import RawChunk
    from indexd.images.image_reader import parse_metadata
    from indexd_schemas.api.requests import ImageSelector

    with open_operations() as operations:
        shown = operations.call(show, ImageSelector(target=f"id:{image.id}"))
    # A second text of one key has a number behind it.
    chunks = [RawChunk(key.partition("#")[0], "utf-8", text) for key, text in shown.raw.items()]
    columns = _metadata_of_columns(shown)
    stated = {one.name: value for one in fields(columns) if (value := getattr(columns, one.name)) not in (None, ())}
    return replace(parse_metadata(chunks, (), (image.width, image.height)), **stated)


def _metadata_of_columns(shown: ShownImage) -> ImageMetadata:
    from dataclasses import fields

    from indexd.image_metadata.model import GenerationDetails, ImageMetadata

    summary = shown.image.model_dump(include={one.name for one in fields(ImageMetadata)} - {"scores", "loras"})
    return ImageMetadata(
        **summary,
        **{one.name: getattr(shown.generation, one.name) for one in fields(GenerationDetails)},
        model_name=shown.image.model,
        loras=tuple(shown.image.loras),
        extras=tuple(shown.extras.items()),
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
