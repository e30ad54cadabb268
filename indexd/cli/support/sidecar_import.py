"""XMP sidecars of other programs as records of an import."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from indexd.cli.support.printing import print_notice
from indexd.errors import IndexdError, UsageError

if TYPE_CHECKING:
    from indexd_schemas.api.annotations import AnnotationRecord

XMP_SUFFIX = ".xmp"


def find_xmp_files(name: str) -> list[Path] | None:
    """The sidecars that an argument names: itself, or all below a folder. None for the file of an export.

    Raises UsageError for a folder that holds none.
    """
    path = Path(name)
    if path.is_dir():
        found = sorted(
            Path(folder) / one
            for folder, _, names in os.walk(path)
            for one in names
            if one.lower().endswith(XMP_SUFFIX)
        )
        if not found:
            raise UsageError(f"there are no {XMP_SUFFIX} files in {name}")
        return found
    if path.suffix.lower() != XMP_SUFFIX:
        return None
    if not path.is_file():
        raise UsageError(f"cannot read {name}: there is no such file")
    return [path]


def iter_sidecar_records(paths: Iterable[Path]) -> Iterator[tuple[AnnotationRecord, int]]:
    """The records of sidecars with their sizes in bytes as text. One that states nothing, or has no image, is a notice."""
    from indexd.images.file_hash import hash_file_hex
    from indexd.images.xmp_sidecar_reader import read_xmp_file
    from indexd_schemas.api.annotations import AnnotationRecord

    for path in paths:
        stated = read_xmp_file(os.fsencode(path))
        if stated is None:
            print_notice(f"{path}: indexd wrote it, or it cannot be read; nothing is taken from it")
            continue
        if stated.rating is None and not stated.keywords:
            print_notice(f"{path}: it states neither a rating nor keywords")
            continue
        images = images_of_xmp(path)
        if not images:
            print_notice(f"{path}: no image lies beside it")
        for image in images:
            try:
                content = hash_file_hex(image)
            except (OSError, IndexdError) as error:
                print_notice(f"{path}: {image.name} cannot be read: {error}")
                continue
            record = AnnotationRecord(hash=content, rating=stated.rating, tags=list(stated.keywords), name=image.name)
            yield record, len(record.model_dump_json())


def images_of_xmp(path: Path) -> list[Path]:
    """The images that a sidecar is about: `x.png` of `x.png.xmp`, and every image called `x` of `x.xmp`."""
    from indexd.watch.sidecar_names import find_images_of_sidecar

    folder = os.fsencode(path.absolute().parent)
    return [
        Path(os.fsdecode(os.path.join(folder, rel))) for rel in find_images_of_sidecar(folder, os.fsencode(path.name))
    ]
