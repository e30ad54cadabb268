"""The search options of `indexd query`, and the search request that they build."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indexd.cli.support.number_types import WholeNumber
from indexd.cli.support.request_validation import validated
from indexd.errors import UsageError

if TYPE_CHECKING:
    from indexd_schemas.api.requests import SearchRequest

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class TermOption:
    """One kind of term, with the names of its positive and its negative option."""

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
        "Similar to this image (file or id).",
        "Not similar to this image.",
    ),
    TermOption(
        "face",
        ("--face",),
        ("--not-face",),
        "FILE",
        "Shows the person in this image (its largest face).",
        "Shows another person.",
    ),
    TermOption(
        "text", ("--text",), ("--not-text",), "WORDS", "Shows what the text describes.", "Shows something else."
    ),
    TermOption(
        "prompt",
        ("--prompt",),
        ("--unlike-prompt", "--not-prompt"),
        "WORDS",
        "Has a similar prompt.",
        "Has a different prompt.",
    ),
    TermOption(
        "negative_prompt",
        ("--negative-prompt",),
        ("--not-negative-prompt",),
        "WORDS",
        "Has a similar negative prompt.",
        "Has a different negative prompt.",
    ),
    TermOption(
        "style",
        ("--style",),
        ("--not-style",),
        "WORDS",
        "Similar prompt for SDXL's first text encoder (clip_l).",
        "The opposite.",
    ),
    TermOption(
        "composition",
        ("--composition",),
        ("--not-composition",),
        "WORDS",
        "Similar prompt for SDXL's second text encoder (clip_g).",
        "The opposite.",
    ),
)
SORT_ORDERS = {"score": "score", "date": "newest", "newest": "newest", "oldest": "oldest", "rating": "rating"}
SORT_ORDERS |= {"clip_score": "clip_score", "aesthetic": "aesthetic", "sharpness": "sharpness"}


def search_options(command: _Command) -> _Command:
    """The options of all terms, and those about scores."""
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
            "-n",
            "limit",
            type=WholeNumber(1, 1_000_000),
            default=20,
            show_default=True,
            help="Maximum number of hits.",
        ),
        click.option(
            "--sort",
            type=click.Choice(list(SORT_ORDERS)),
            help="Order of the hits; date = newest first. Default: score, or newest without terms.",
        ),
        click.option("--min-score", type=float, metavar="Z", help="Minimum score of a hit. Default: 2.5."),
        click.option("--all", "everything", is_flag=True, help="Show all hits, whatever their score."),
    ]
    for one in reversed(options):
        command = one(command)
    return command


def build_search_request(given: Mapping[str, Any], filters: Sequence[str], *, explain: bool) -> SearchRequest:
    """The search request of the given options. Raises UsageError."""
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
    is_image = option.metavar == "FILE"
    weight, rest = parse_weighted_value(text, names[0], is_image=is_image)
    value = format_target(parse_target_argument(rest)) if is_image else rest
    return {"kind": option.kind, "value": value, "weight": -weight if negative else weight}


def _cutoff_fields(min_score: float | None, *, everything: bool, scored: bool) -> dict[str, Any]:
    if min_score is None:
        return {"everything": everything}
    if everything:
        raise UsageError("--min-score and --all exclude each other")
    if not scored:
        raise UsageError("--min-score needs something to score by, such as --text or --similar")
    if math.isnan(min_score) or min_score == math.inf:
        raise UsageError(f"--min-score must be finite, such as 3, or -inf for no cut-off (got {min_score})")
    return {"everything": True} if min_score == -math.inf else {"min_score": min_score}
