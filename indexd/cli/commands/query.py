"""`indexd query`: searches the index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexd.cli.support.dash_arguments import dash_argument_command
from indexd.cli.support.printing import json_option, print_json, print_notice
from indexd.cli.support.search_options import build_search_request, search_options
from indexd.cli.support.session import call_with_progress
from indexd.errors import EXIT_ERROR, EXIT_NOTHING_FOUND, EXIT_OK, UsageError

if TYPE_CHECKING:
    from indexd_schemas.api.output import SearchResults


@click.command(
    cls=dash_argument_command(r"-[A-Za-z_]+:.*"),
    short_help="Search images by content, text, prompt and metadata.",
    epilog="""\
\b
Filters: key:value, key:low..high, has:key; a leading - excludes. All must hold.
  model: lora: sampler: schedule: generator: job: tag: path:   names, * as wildcard
  prompt: note:                                                words
  seed: steps: cfg: width: height: rating:                     number, range, >30
  clip_score:>0.25  aesthetic:6..  sharpness:100..             scores of a job
  faces:2..  region:hand                                       detected regions
  character:Luna  character:2..                                characters in the image
  size:1024x768  date:2026-01..2026-03  missing:yes  has:prompt

\b
Examples:
  indexd query --text "a lighthouse at night" -n 5
  indexd query --similar a.png --similar 0.5:b.png --not-similar c.png
  indexd query --similar a.png --unlike-prompt "a red dress" --explain
  indexd query --face luna.png faces:2.. -n 50
  indexd query --character Luna --character Mara --text "at the sea"
  indexd query --text "the sea" model:pony steps:20..40 rating:4.. -tag:bad
  indexd query --prompt "red hair" "lora:my lora" --sheet sheet.png
  indexd query --similar a.png rating:5 -n 1 --emit-job again.yaml
  indexd query path:portraits/* date:2026-01.. -0 | xargs -0 ls -l

\b
A score is the number of standard deviations by which a hit is more similar than
an unrelated image; several terms are fused. Hits below 2.5 do not fit and are
left out. When nothing fits, the exit code is 3 (docs/search.md).
""",
)
@search_options
@click.option(
    "--character",
    "characters",
    multiple=True,
    metavar="CHARACTER",
    help="Only images with this character (name or number).",
)
@click.option("--explain", is_flag=True, help="Also show the parts of each score, and the words that match.")
@json_option
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line, one for each hit.")
@click.option("--paths", is_flag=True, help="Print only paths, one a line.")
@click.option("-0", "--null", "null", is_flag=True, help="Print only paths, each followed by NUL, for xargs -0.")
@click.option("--sheet", type=click.Path(dir_okay=False), metavar="OUT.png", help="Also write a contact sheet.")
@click.option("--open", "open_them", is_flag=True, help="Also open the hits in the system's viewer.")
@click.option(
    "--emit-job",
    type=click.Path(path_type=Path),
    metavar="JOB.yaml",
    help="Also write the recipe of the first hit as a job file.",
)
@click.argument("filters", nargs=-1, metavar="[FILTER]...")
def query(
    as_json: bool,
    jsonl: bool,
    paths: bool,
    null: bool,
    explain: bool,
    characters: tuple[str, ...],
    sheet: str | None,
    open_them: bool,
    emit_job: Path | None,
    filters: tuple[str, ...],
    **term_options: Any,
) -> int:
    """Search images by content, text, prompt and metadata.

    Terms rank the images. Each can be repeated, with a weight before a colon. Filters decide which images may appear. The command uses
    the daemon and its loaded models, or opens the index itself and loads what it needs.
    """
    from indexd.api.operations import images
    from indexd.cli.support.emit_job import check_job_target
    from indexd.cli.support.emit_job import emit_job as write_job
    from indexd.cli.support.search_results import open_hits, write_hit_contact_sheet

    if as_json + jsonl + paths + null > 1:
        raise UsageError("--json, --jsonl, --paths and -0 exclude each other")
    if emit_job is not None:
        check_job_target(emit_job)
    request = build_search_request(term_options, (*filters, *map(_character_filter, characters)), explain=explain)
    description = "searching (a model may have to load first)" if request.terms else "searching"
    results = call_with_progress(description, images.query, request)
    for line in results.notes:
        print_notice(f"note: {line}")
    _print(results, as_json=as_json, jsonl=jsonl, paths=paths, null=null, explain=explain)
    if not results.hits:
        if not as_json and not results.cut_off_count:
            print_notice("nothing found")
        return EXIT_NOTHING_FOUND
    if sheet:
        write_hit_contact_sheet(results, sheet)
    if emit_job is not None:
        write_job(results.hits[0].image, emit_job)
    return EXIT_OK if not open_them or open_hits(results.hits) else EXIT_ERROR


def _print(results: SearchResults, *, as_json: bool, jsonl: bool, paths: bool, null: bool, explain: bool) -> None:
    from indexd.cli.support.search_results import print_hit_paths, print_hit_table

    if as_json:
        print_json(results)
    elif jsonl:
        for hit in results.hits:
            print_json(hit, indent=None)
    elif paths or null:
        print_hit_paths(results, "\0" if null else "\n")
    else:
        print_hit_table(results, explain=explain)


def _character_filter(name: str) -> str:
    """The filter for a character, whatever signs its name has."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'character:"{quoted}"'
