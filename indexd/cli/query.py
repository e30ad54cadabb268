"""`indexd query`: ask the index."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from indexd.cli.dashes import dash_words
from indexd.cli.printing import json_option, note, one_line, print_json
from indexd.cli.session import operations, settings
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK, UsageError

if TYPE_CHECKING:
    from indexd_schemas.output import Answer
    from indexd_schemas.question import Question


@click.command(
    cls=dash_words(r"-[A-Za-z_]+:.*"),
    short_help="Find pictures by look, words, prompt and metadata.",
    epilog="""\
\b
Filters: key:value, key:low..high, has:key; a leading - excludes. All must hold.
  model: lora: sampler: schedule: generator: job: tag: path:   names, * as wildcard
  prompt: note:                                                words
  seed: steps: cfg: width: height: rating:                     number or range
  size:1024x768  date:2026-01..2026-03  missing:yes  has:prompt

\b
Examples:
  indexd query --text "a lighthouse at night" -n 5
  indexd query --similar a.png model:pony steps:20..40 rating:4.. -tag:bad
  indexd query --prompt "red hair" "lora:my lora" --sheet sheet.png
  indexd query path:portraits/* date:2026-01.. -0 | xargs -0 ls -l

\b
A score says how many deviations more alike than a random picture of the
library a hit is; several terms are fused (see docs/search.md).
""",
)
@click.option("--similar", "similar", multiple=True, metavar="FILE", help="Looks like this picture (file or id).")
@click.option("--text", "text", multiple=True, metavar="WORDS", help="Looks like what the words say.")
@click.option("--prompt", "prompt", multiple=True, metavar="WORDS", help="Was prompted with something like this.")
@click.option("-n", "limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many hits.")
@click.option(
    "--sort",
    type=click.Choice(["score", "newest", "oldest", "rating"]),
    help="Order of the hits. Default: score, or newest without terms.",
)
@json_option
@click.option("--jsonl", is_flag=True, help="Print one JSON object a hit, one a line.")
@click.option("--paths", is_flag=True, help="Print paths only, one a line.")
@click.option("-0", "--null", "null", is_flag=True, help="Print paths only, each ended by a NUL, for xargs -0.")
@click.option("--sheet", type=click.Path(dir_okay=False), metavar="OUT.png", help="Also write a contact sheet.")
@click.argument("filters", nargs=-1, metavar="[FILTER]...")
def query(
    similar: tuple[str, ...],
    text: tuple[str, ...],
    prompt: tuple[str, ...],
    limit: int,
    sort: str | None,
    as_json: bool,
    jsonl: bool,
    paths: bool,
    null: bool,
    sheet: str | None,
    filters: tuple[str, ...],
) -> int:
    """Find pictures by look, words, prompt and metadata.

    Uses the daemon and its loaded models where it runs; else opens the index itself and loads what it needs.
    """
    if as_json + jsonl + paths + null > 1:
        raise UsageError("--json, --jsonl, --paths and -0 exclude each other")
    question = _question(similar, text, prompt, filters, sort, limit)
    answer = _ask(question)
    for line in answer.notes:
        note(f"note: {line}")
    if sheet and answer.hits:
        _write_sheet(answer, sheet)
    if as_json:
        print_json(answer)
    elif jsonl:
        for hit in answer.hits:
            click.echo(hit.model_dump_json())
    elif paths or null:
        _print_paths([hit.image.path for hit in answer.hits if hit.image.path], "\0" if null else "\n")
    else:
        _print_table(answer)
    if not answer.hits and not as_json:
        note("nothing found")
    return EXIT_OK if answer.hits else EXIT_NOTHING_FOUND


def _question(
    similar: Sequence[str],
    text: Sequence[str],
    prompt: Sequence[str],
    filters: Sequence[str],
    sort: str | None,
    limit: int,
) -> Question:
    from pydantic import ValidationError

    from indexd.search.language import parse
    from indexd.search.targets import parse_argument, to_text
    from indexd_schemas.question import Question

    # Parsed here as well, so that a wrong filter is refused before a daemon or a model is bothered.
    parse(filters)
    terms = [
        *({"kind": "similar", "value": to_text(parse_argument(one))} for one in similar),
        *({"kind": "text", "value": one} for one in text),
        *({"kind": "prompt", "value": one} for one in prompt),
    ]
    try:
        return Question.model_validate({"terms": terms, "filters": tuple(filters), "sort": sort, "limit": limit})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _ask(question: Question) -> Answer:
    from indexd.cli.printing import progress

    with operations() as door, progress(counted=False) as bar:
        bar.add_task("asking (a model may have to load first)" if question.terms else "asking", total=None)
        return door.query(question)


def _write_sheet(answer: Answer, sheet: str) -> None:
    from pathlib import Path

    from indexd.images.thumbnail import thumbnail_path
    from indexd.search.sheet import write_sheet

    folder = settings().places.thumbnails
    target = Path(sheet).absolute()
    count = write_sheet(answer.hits, target, lambda content: thumbnail_path(folder, bytes.fromhex(content)))
    note(f"{count} pictures on {target}")


def _print_paths(paths: Sequence[str], end: str) -> None:
    sys.stdout.write("".join(path + end for path in paths))
    sys.stdout.flush()


def _print_table(answer: Answer) -> None:
    for hit in answer.hits:
        image = hit.image
        score = f"{hit.score:+6.2f}  " if hit.score is not None else ""
        rating = "★" * (image.rating or 0)
        made = "  ".join(
            part
            for part in (
                f"{image.width}x{image.height}",
                image.model,
                f"seed {image.seed}" if image.seed else None,
                rating,
            )
            if part
        )
        click.echo(f"{hit.rank:3}  {score}{image.path or f'(missing) #{image.id}'}")
        click.echo(f"     {made}")
        if image.prompt:
            click.echo(f"     {one_line(image.prompt)}")
