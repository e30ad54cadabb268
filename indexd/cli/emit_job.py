"""`indexd query --emit-job`: the best hit's own recipe as a job file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from indexd.cli.printing import note
from indexd.cli.session import operations, settings
from indexd.errors import IndexdError, NothingFound, UsageError

if TYPE_CHECKING:
    from indexd.images.facts import Metadata
    from indexd.search.job_file import JobFile
    from indexd_schemas.output import Image
    from indexd_schemas.recipe import Recipe

JOB_ENDINGS = (".yaml", ".yml")


def check_target(target: Path) -> None:
    """Raises where no job file can be written, before anything is asked."""
    if target.suffix.lower() not in JOB_ENDINGS:
        raise UsageError(f"--emit-job: a job file ends in .yaml (got {target})")
    if os.path.lexists(target):
        raise IndexdError(f"{target} is there already and is left as it is; name another file")
    if not target.absolute().parent.is_dir():
        raise IndexdError(f"there is no folder {target.absolute().parent}; make it first")


def emit_job(image: Image, target: Path) -> None:
    """Write the job that makes `image` again: exactly where it carries our recipe, else as far as its metadata tells.

    What is missing is said on stderr.
    """
    made = _metadata(image)
    name = image.path or f"#{image.id}"
    try:
        job = _of_recipe(made, name) or _of_metadata(made, image)
    except IndexdError as error:
        raise IndexdError(f"no job can be made of {name}: {error}") from None
    by = made.generator_version if made.generator == "indexd" else made.generator
    _write(
        job.text(f"The recipe of {name} (made by {by or 'an unknown program'}), written by indexd query --emit-job."),
        target,
    )
    for remark in job.remarks:
        note(f"not taken over as it was: {remark}")
    note(f"the recipe of {name} is in {target}")


def _of_recipe(made: Metadata, name: str) -> JobFile | None:
    """The job of the whole recipe; None where there is none, or a picture that it goes by is not in the index.

    Raises IndexdError for an inpainted one of which such a picture is missing: without it that would be another picture.
    """
    from indexd.search.job_file import JobFile
    from indexd.search.recipe_job import keys_of, pictures_of
    from indexd.search.replay import recipe_in

    recipe = recipe_in(made, name)
    if recipe is None:
        return None
    wanted = pictures_of(recipe)
    places = {content: _place(content) for content in wanted}
    missing = next((content for content, place in places.items() if place is None), None)
    if missing is None:
        job = JobFile(keys_of(recipe, {content: place for content, place in places.items() if place is not None}))
        _check_models(job, recipe)
        return job
    if recipe.kind == "inpaint":
        raise IndexdError(
            f"it was made with {wanted[missing]} ({missing[:12]}…), which is not in the index; "
            "copy it into a watched folder and ask again"
        )
    return None


def _check_models(job: JobFile, recipe: Recipe) -> None:
    """Remarks on the models that are not here."""
    from indexd.catalogue import Catalogue
    from indexd.jobs.own_recipe import problem_of

    shelves = Catalogue.of(settings())
    named = [("model", shelves.checkpoint, recipe.model.name)] if recipe.model is not None else []
    named += [(f"loras: {lora.name}", shelves.lora, lora.name) for lora in recipe.loras]
    for what, find, name in named:
        problem = problem_of(find)(name)
        if problem is not None:
            job.remarks.append(f"{what}: {problem}")


def _of_metadata(made: Metadata, image: Image) -> JobFile:
    from indexd.catalogue import Catalogue
    from indexd.jobs.own_recipe import problem_of
    from indexd.search.metadata_job import job_of

    shelves = Catalogue.of(settings())
    return job_of(
        made,
        (image.width, image.height),
        None if made.input_hash is None else _place(made.input_hash),
        problem_of(shelves.checkpoint),
        problem_of(shelves.lora),
    )


def _metadata(image: Image) -> Metadata:
    """All that the picture says; what the index knows of it where the file is gone, was changed, or says nothing now."""
    from indexd.images.facts import LoraUse, Metadata
    from indexd.images.read import read
    from indexd.images.sidecar import sidecars
    from indexd.watch.regular import open_regular

    if image.path is not None:
        path = os.fsencode(image.path)
        try:
            with open_regular(os.path.realpath(path)) as file:
                facts = read(file, os.fstat(file.fileno()).st_size, image.path, lambda: sidecars(path))
            made = facts.metadata
            # The index may know what the file does not say any more: from a text beside it that is gone, for one.
            if facts.content_hash.hex() == image.hash and (made.prompt is not None or made.seed is not None):
                return made
        except (OSError, IndexdError):
            pass
    return Metadata(
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
        loras=tuple(LoraUse(use.name, use.weight, use.text_weight, use.hash) for use in image.loras),
    )


def _place(content: str) -> str | None:
    """Where a picture lies now that a picture was made from, found by its content."""
    from indexd.search.targets import Target

    try:
        with operations() as door:
            return door.show(Target(content_hash=bytes.fromhex(content))).image.path
    except (ValueError, NothingFound):
        return None


def _write(text: str, target: Path) -> None:
    # A hidden name that ends as temporary files do: the inbox takes the finished file only.
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(text, "utf-8", newline="\n")
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise IndexdError(f"cannot write {target}: {error.strerror or error}") from None
