"""Output of search results: table, paths, contact sheet, image viewer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import click

from indexd.cli.support.printing import format_time, one_line, print_notice, print_paths, print_text
from indexd.cli.support.session import load_config

if TYPE_CHECKING:
    from indexd_schemas.api.output import ImageSummary, ScoreContribution, SearchHit, SearchResults, TextMatch

# More windows at once are useless.
MAX_OPENED = 20
MAX_MATCH_CHARACTERS = 200


def print_hit_table(answer: SearchResults, *, explain: bool = False) -> None:
    """Print three lines a hit. With `explain`, print one more for each part of its score, and for each text with a match."""
    for hit in answer.hits:
        image = hit.image
        score = f"{hit.score:+6.2f}  " if hit.score is not None else ""
        made = (
            f"{image.width}x{image.height}",
            image.model,
            f"seed {image.seed}" if image.seed else None,
            "★" * (image.rating or 0),
        )
        print_text(f"{hit.rank:3}  {score}{image.path or describe_missing(image)}")
        print_text(f"     {'  '.join(part for part in made if part)}")
        if image.prompt:
            print_text(f"     {one_line(image.prompt)}")
        for part in hit.parts or ():
            print_text(f"     {_score_part_line(part)}")
        for match in hit.matches if explain else ():
            print_text(
                f"     {match.column}: {one_line(_marked(match), MAX_MATCH_CHARACTERS)}  {one_line(match.term, 60)}"
            )


def _marked(match: TextMatch) -> str:
    """The excerpt with every match between « and »."""
    parts, end = ["…" if match.start else ""], 0
    for first, last in match.spans:
        parts += [match.text[end:first], "«", match.text[first:last], "»"]
        end = last
    return "".join((*parts, match.text[end:]))


def describe_missing(image: ImageSummary) -> str:
    """What stands in the place of the path where the image has no file: where its last one lay, and since when it is gone."""
    if image.last_path is None or image.missing_since is None:
        return f"#{image.id} (missing)"
    fate = "overwritten" if image.is_overwritten else "missing since"
    return f"{image.last_path} ({fate} {format_time(image.missing_since)}, #{image.id})"


def _score_part_line(part: ScoreContribution) -> str:
    plain = "no vector" if part.raw is None else f"cosine {part.raw:.3f}"
    if part.layer.startswith("fulltext"):
        plain = "no match" if part.raw is None else f"bm25 {part.raw:.2f}"
    return f"{part.z:+6.2f} x {part.weight:g}  {part.layer} ({plain})  {one_line(part.term, 60)}"


def print_hit_paths(answer: SearchResults, end: str) -> None:
    """Print the path of every hit with an existing file, byte for byte, each followed by `end`."""
    print_paths([path for hit in answer.hits if (path := path_bytes(hit.image)) is not None], end)


def path_bytes(image: ImageSummary) -> bytes | None:
    """The path of an image as the file system spells it; None where it has no file."""
    if image.path_quoted is not None:
        return unquote_to_bytes(image.path_quoted)
    return None if image.path is None else os.fsencode(image.path)


def write_hit_contact_sheet(answer: SearchResults, sheet: str) -> None:
    """Write a contact sheet of the hits."""
    from indexd.images.thumbnail import thumbnail_path
    from indexd.search.hit_contact_sheet import write_hit_contact_sheet

    folder = load_config().paths.thumbnails
    target = Path(sheet).absolute()
    count = write_hit_contact_sheet(answer.hits, target, lambda content: thumbnail_path(folder, bytes.fromhex(content)))
    print_notice(f"{count} images on {target}")


def open_hits(hits: Sequence[SearchHit]) -> bool:
    """Open the hits in the system's image viewer. Returns False when there is none."""
    present = [hit.image.path for hit in hits if hit.image.path and os.path.isfile(hit.image.path)]
    if len(present) > MAX_OPENED:
        print_notice(f"only the best {MAX_OPENED} of {len(present)} are opened")
    for path in present[:MAX_OPENED]:
        if click.launch(path) != 0:
            print_notice("no image viewer could be started; --sheet writes a contact sheet instead")
            return False
    if not present:
        print_notice("none of the hits has a file to open")
    return bool(present)
