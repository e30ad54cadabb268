"""`indexd export`: annotations as JSON lines keyed by content, or as XMP sidecar files."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import click

from indexd.cli.support.printing import escape_json, json_option, print_json, print_notice, print_text, progress
from indexd.cli.support.session import open_operations
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK, EXIT_PARTLY_FAILED, IndexdError, UsageError

if TYPE_CHECKING:
    from indexd.api.operations.registry import Operations
    from indexd_schemas.api.annotations import LocatedRecord, SidecarReport


@click.command(short_help="Export ratings, tags and notes.")
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False), metavar="FILE", help="Write to this file instead of stdout."
)
@click.option("--force", is_flag=True, help="Overwrite an existing FILE.")
@click.option("--query", "query", multiple=True, metavar="FILTERS", help="Only images that match these filters.")
@click.option("--xmp", is_flag=True, help="Write XMP sidecar files beside the images instead.")
@click.option(
    "--xmp-name",
    type=click.Choice(["full", "stem"]),
    default="full",
    show_default=True,
    help="Name of a sidecar file: x.png.xmp (full) or x.xmp (stem).",
)
@json_option
def export(
    out: str | None, force: bool, query: tuple[str, ...], xmp: bool, xmp_name: Literal["full", "stem"], as_json: bool
) -> int:
    """Export every rating, tag, note and named face as JSON lines for `indexd import`, one line for each content.

    A line names an image by the hash of its bytes, so it works on another machine. The export includes pending annotations of images
    that are not in the index. --xmp writes sidecar files beside existing images. It never changes an image, nor a sidecar that another
    program wrote or changed. Exit code 3 when there is nothing to write, 5 when some sidecars failed.
    """
    if xmp and (out or force):
        raise UsageError("--xmp writes beside the images and cannot be combined with -o")
    if as_json and not xmp:
        raise UsageError("an export is JSON lines already; --json goes with --xmp")
    with open_operations() as operations:
        if xmp:
            return _write_sidecars(operations, query, xmp_name, as_json)
        count = 0
        with _open_output(out, force) as file:
            file.write(_header())
            for placed in _iter_records(operations, query):
                file.write(escape_json(placed.record.model_dump_json(exclude_none=True)).encode() + b"\n")
                count += 1
        nameless = _count_unnamed_characters(operations)
    print_notice(f"{count} images with a rating, tags, a note or a named character")
    if nameless:
        print_notice(
            f"not written: what was put right of {nameless} characters that have no name, by which another index would"
            " know them (`indexd characters name`; a backup has them)"
        )
    return EXIT_OK if count else EXIT_NOTHING_FOUND


def _iter_records(operations: Operations, query: tuple[str, ...]) -> Iterator[LocatedRecord]:
    from indexd.api.operations.annotation import export_annotations
    from indexd.cli.support.request_validation import validated
    from indexd_schemas.api.annotations import ExportRequest

    cursor: str | None = ""
    while cursor is not None:
        page = operations.call(export_annotations, validated(ExportRequest, cursor=cursor, filters=query))
        yield from page.records
        cursor = page.next


def _count_unnamed_characters(operations: Operations) -> int:
    from indexd.api.operations.characters import list_characters
    from indexd_schemas.api.characters import CharacterListRequest

    known = operations.call(list_characters, CharacterListRequest(hidden=True)).characters
    return sum(one.curated and one.name is None for one in known)


def _header() -> bytes:
    from indexd_schemas.api.annotations import ExportHeader

    return ExportHeader().model_dump_json().encode() + b"\n"


@contextlib.contextmanager
def _open_output(out: str | None, force: bool) -> Iterator[BinaryIO]:
    """The output stream. The file appears completely or not at all."""
    if out is None or out == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(out).absolute()
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; name another file or say --force")
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise IndexdError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _write_sidecars(
    operations: Operations, query: tuple[str, ...], naming: Literal["full", "stem"], as_json: bool
) -> int:
    from indexd_schemas.api.annotations import SidecarReport

    done = SidecarReport(written=0, unchanged=0)
    taken: dict[bytes, bytes] = {}
    with progress(counted=False) as bar:
        bar.add_task("writing sidecars", total=None)
        for placed in _iter_records(operations, query):
            # Sidecar files cannot hold faces.
            if placed.record.rating is None and not placed.record.tags and not placed.record.note:
                continue
            _write_record_sidecars(placed, naming, taken, done)
    if as_json:
        print_json(done)
    else:
        print_text(f"{done.written} sidecars written, {done.unchanged} were up to date")
    for text in done.foreign:
        print_notice(f"left as it is, another program's: {text}")
    for text in done.failed:
        print_notice(f"not written: {text}")
    if done.failed or done.foreign:
        return EXIT_PARTLY_FAILED
    return EXIT_OK if done.written or done.unchanged else EXIT_NOTHING_FOUND


def _write_record_sidecars(
    placed: LocatedRecord, naming: Literal["full", "stem"], taken: dict[bytes, bytes], done: SidecarReport
) -> None:
    from urllib.parse import unquote_to_bytes

    from indexd.fs.paths import display
    from indexd.images.xmp_sidecar_writer import render_xmp_sidecar, write_xmp_sidecar, xmp_sidecar_path

    record = placed.record
    content = render_xmp_sidecar(record.rating, record.tags, record.note)
    for place in map(unquote_to_bytes, placed.places):
        path = xmp_sidecar_path(place, naming)
        if path in taken:
            done.failed.append(
                f"{display(path)}: it belongs to {display(taken[path])}; --xmp-name full keeps them apart"
            )
            continue
        taken[path] = place
        try:
            outcome = write_xmp_sidecar(path, content)
        except OSError as error:
            done.failed.append(f"{display(path)}: {error.strerror or error}")
            continue
        if outcome == "foreign":
            done.foreign.append(display(path))
        else:
            setattr(done, outcome, getattr(done, outcome) + 1)
