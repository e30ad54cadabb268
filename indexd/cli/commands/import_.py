"""`indexd import`: merges exports, and XMP sidecars of other programs, into the index by content."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from indexd.cli.support.printing import json_option, print_json, print_text, progress
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_OK, IndexdError, UsageError

if TYPE_CHECKING:
    from indexd_schemas.api.annotations import AnnotationRecord

MAX_LINE_BYTES = 1 << 20
BATCH_RECORDS = 1000
# The HTTP API accepts 2 MiB a request.
BATCH_BYTES = 1 << 20


@click.command(name="import", short_help="Import ratings, tags and notes.")
@click.argument("sources", metavar="FILE|FOLDER|-...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--prefer-file", is_flag=True, help="Ratings and notes in the file win, whatever their time.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@json_option
def import_(sources: tuple[str, ...], prefer_file: bool, dry_run: bool, as_json: bool) -> int:
    """Import the output of `indexd export`, from this or another machine, or XMP sidecars of other programs.

    Tags are united. Of two ratings or notes the later one wins (--prefer-file: that of the file). Repeating an import changes
    nothing. Annotations of images that are not in the index stay pending until they appear. A wrong line is refused with its number
    before anything changes.

    A file x.png.xmp or x.xmp belongs to the image beside it; a folder is searched for such files. Their ratings and keywords
    have no time, so your own ratings win.
    """
    from indexd.api.operations.annotation import import_annotations
    from indexd.cli.support.request_validation import validated
    from indexd.cli.support.sidecar_import import find_xmp_files, iter_sidecar_records
    from indexd_schemas.api.annotations import ImportReport, ImportRequest

    total = ImportReport(records=0, changed=0, same=0, pending=0, dry_run=dry_run)
    with ExitStack() as opened:
        exports: list[tuple[BinaryIO, str]] = []
        sidecars: list[Path] = []
        for name in sources:
            found = find_xmp_files(name)
            if found is None:
                exports.append((opened.enter_context(_open_seekable(name)), name))
            else:
                sidecars += found
        for source, name in exports:
            for _ in _iter_records(source, name):
                pass
            source.seek(0)
        records = chain(*(_iter_records(source, name) for source, name in exports), iter_sidecar_records(sidecars))
        with open_operations(write=True) as operations, progress(counted=False) as bar:
            bar.add_task("importing", total=None)
            for batch in _batches(records):
                request = validated(ImportRequest, records=tuple(batch), prefer_file=prefer_file, dry_run=dry_run)
                done = operations.call(import_annotations, request)
                total.records += done.records
                total.changed += done.changed
                total.same += done.same
                total.pending += done.pending
    if as_json:
        print_json(total)
    else:
        would = "would be " if dry_run else ""
        waits = f"; {total.pending} are not in the index, and their annotations stay pending" if total.pending else ""
        print_text(f"{total.records} images read, {total.changed} {would}changed{waits}")
    return EXIT_OK


def _open_seekable(file: str) -> BinaryIO:
    """The file, or a copy of stdin, because it is read twice."""
    if file == "-":
        kept = tempfile.SpooledTemporaryFile(max_size=64 << 20)  # noqa: SIM115 - the caller closes it
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.seek(0)
        return cast("BinaryIO", kept)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from None


def _iter_records(source: BinaryIO, name: str) -> Iterator[tuple[AnnotationRecord, int]]:
    """The records with the size of their lines. Raises IndexdError with the line number."""
    from pydantic import ValidationError

    from indexd_schemas.api.annotations import AnnotationRecord, ExportHeader
    from indexd_schemas.validation_messages import describe_first_error

    number = 0
    while line := source.readline(MAX_LINE_BYTES + 1):
        number += 1
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError("the line is longer than 1 MiB")
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not text:
                continue
            plain = json.loads(text)
            if isinstance(plain, dict) and "kind" in plain:
                ExportHeader.model_validate(plain)
                continue
            record = AnnotationRecord.model_validate(plain)
        except ValidationError as error:
            raise IndexdError(f"{name}: line {number}: {describe_first_error(error)}") from None
        except (ValueError, RecursionError) as error:
            raise IndexdError(f"{name}: line {number} is no line of an export: {error}") from None
        yield record, len(line)


def _batches(records: Iterator[tuple[AnnotationRecord, int]]) -> Iterator[list[AnnotationRecord]]:
    batch: dict[str, AnnotationRecord] = {}
    size = 0
    for record, length in records:
        key = record.hash.lower()
        if batch and (len(batch) >= BATCH_RECORDS or size + length > BATCH_BYTES or key in batch):
            yield list(batch.values())
            batch, size = {}, 0
        batch[key] = record
        size += length
    if batch:
        yield list(batch.values())
