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
    from indexd_schemas.output import Image

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
    """Write the job that makes `image` again, as far as its metadata tells; says on stderr what is missing."""
    from indexd.catalogue import Catalogue
    from indexd.jobs.own_recipe import problem_of
    from indexd.search.job_file import job_of

    made = _metadata(image)
    name = image.path or f"#{image.id}"
    shelves = Catalogue.of(settings())
    try:
        job = job_of(
            made,
            (image.width, image.height),
            _source(made),
            problem_of(shelves.checkpoint),
            problem_of(shelves.lora),
        )
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


def _source(made: Metadata) -> str | None:
    """Where the picture that an img2img began from lies now, found by its content."""
    from indexd.search.targets import Target

    if made.input_hash is None:
        return None
    try:
        content = bytes.fromhex(made.input_hash)
        with operations() as door:
            return door.show(Target(content_hash=content)).image.path
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
