"""The options of `indexd query` that ask something, and the question they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indexd.cli.support.request_validation import validated
from indexd.errors import UsageError

if TYPE_CHECKING:
    from indexd_schemas.api.requests import SearchRequest

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class TermOption:
    """One kind of term: `names` of the option that asks for it, and of the one that pushes away."""

    kind: str
    positive_names: tuple[str, ...]
    negative_names: tuple[str, ...]
    metavar: str
    positive_help: str
    negative_help: str

    def parameter_name(self, *, negative: bool) -> str:
        """The name of the command's parameter."""
        return f"not_{self.kind}" if negative else self.kind


TERM_OPTIONS = (
    TermOption(
        "similar",
        ("--similar",),
        ("--not-similar",),
        "FILE",
        "Looks like this picture (file or id).",
        "Looks unlike it.",
    ),
    TermOption(
        "face",
        ("--face",),
        ("--not-face",),
        "FILE",
        "Shows the person in this picture (its largest face).",
        "Shows somebody else.",
    ),
    TermOption("text", ("--text",), ("--not-text",), "WORDS", "Looks like what the words say.", "Looks unlike them."),
    TermOption(
        "prompt",
        ("--prompt",),
        ("--unlike-prompt", "--not-prompt"),
        "WORDS",
        "Was prompted with something like this.",
        "Was prompted differently.",
    ),
    TermOption(
        "negative_prompt",
        ("--negative-prompt",),
        ("--not-negative-prompt",),
        "WORDS",
        "Has something like this in its negative prompt.",
        "Has nothing like it there.",
    ),
    TermOption(
        "style",
        ("--style",),
        ("--not-style",),
        "WORDS",
        "Prompt alike to SDXL's first text encoder (clip_l).",
        "Unlike to it.",
    ),
    TermOption(
        "composition",
        ("--composition",),
        ("--not-composition",),
        "WORDS",
        "Prompt alike to SDXL's second text encoder (clip_g).",
        "Unlike to it.",
    ),
)
SORT_ORDERS = {"score": "score", "date": "newest", "newest": "newest", "oldest": "oldest", "rating": "rating"}
SORT_ORDERS |= {"clip_score": "clip_score", "aesthetic": "aesthetic", "sharpness": "sharpness"}


def search_options(command: _Command) -> _Command:
    """The options of every term, and of what is done with the scores."""
    options = [
        click.option(
            *names, option.parameter_name(negative=away), multiple=True, metavar=f"[W:]{option.metavar}", help=help_text
        )
        for option in TERM_OPTIONS
        for away, names, help_text in (
            (False, option.positive_names, option.positive_help),
            (True, option.negative_names, option.negative_help),
        )
    ]
    options += [
        click.option(
            "-n", "limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many hits."
        ),
        click.option(
            "--sort",
            type=click.Choice(list(SORT_ORDERS)),
            help="Order of the hits; date = newest first. Default: score, or newest without terms.",
        ),
        click.option(
            "--min-score", type=float, metavar="Z", help="Leave out what scores less; default: what does not fit."
        ),
        click.option("--all", "everything", is_flag=True, help="Leave nothing out, however little it fits."),
    ]
    for one in reversed(options):
        command = one(command)
    return command


def build_search_request(given: Mapping[str, Any], filters: Sequence[str], *, explain: bool) -> SearchRequest:
    """The question that the options ask. Raises UsageError."""
    from indexd_schemas.api.requests import SearchRequest

    terms = [
        _parse_term(option, text, negative=away)
        for option in TERM_OPTIONS
        for away in (False, True)
        for text in given[option.parameter_name(negative=away)]
    ]
    return validated(
        SearchRequest,
        terms=terms,
        filters=tuple(filters),
        sort=SORT_ORDERS[given["sort"]] if given["sort"] else None,
        limit=given["limit"],
        explain=explain,
        **_cutoff_fields(given["min_score"], everything=given["everything"], scored=bool(terms)),
    )


def _parse_term(option: TermOption, text: str, *, negative: bool) -> dict[str, Any]:
    from indexd.search.query.image_target import format_target, parse_target_argument
    from indexd.search.query.term_weights import parse_weighted_value

    names = option.negative_names if negative else option.positive_names
    picture = option.metavar == "FILE"
    weight, rest = parse_weighted_value(text, names[0], is_image=picture)
    value = format_target(parse_target_argument(rest)) if picture else rest
    return {"kind": option.kind, "value": value, "weight": -weight if negative else weight}


def _cutoff_fields(min_score: float | None, *, everything: bool, scored: bool) -> dict[str, Any]:
    if min_score is None:
        return {"everything": everything}
    if everything:
        raise UsageError("--min-score and --all exclude each other")
    if not scored:
        raise UsageError("--min-score needs something to score by, such as --text or --similar")
    if math.isnan(min_score) or min_score == math.inf:
        raise UsageError(f"--min-score is a number, such as 3 or -inf (got {min_score})")
    return {"everything": True} if min_score == -math.inf else {"min_score": min_score}
