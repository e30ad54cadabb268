"""The kinds of search terms: the layer that each is compared with, and how it is embedded.

To add a kind, add a row here and a name to `indexd_schemas.api.requests.TermKind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from indexd.store.records import SEARCHED_COLUMNS, TextColumn
from indexd_schemas.api.requests import SearchTerm, TermKind


@dataclass(frozen=True, slots=True)
class TermRule:
    """How to use one kind of term. For the value kind `face`, the largest face of the image counts.

    `as_query` adds the query prefix of the model. Terms with `fulltext_columns` also search these columns.
    """

    layer: str
    value_kind: Literal["image", "words", "face"]
    as_query: bool = False
    fulltext_columns: tuple[TextColumn, ...] | None = None


TERM_RULES: dict[TermKind, TermRule] = {
    "similar": TermRule("clip_h", value_kind="image"),
    "face": TermRule("face", value_kind="face"),
    "text": TermRule("clip_h", value_kind="words", as_query=True),
    "prompt": TermRule("bge_prompt", value_kind="words", as_query=True, fulltext_columns=SEARCHED_COLUMNS),
    "negative_prompt": TermRule("bge_negative", value_kind="words", as_query=True, fulltext_columns=("negative",)),
    # The two text encoders of SDXL, ViT-L/14 and ViT-bigG/14; each reads the whole prompt.
    "style": TermRule("clip_l", value_kind="words"),
    "composition": TermRule("clip_g", value_kind="words"),
}


def cli_option(term: SearchTerm) -> str:
    """The command-line option of the term."""
    if term.weight >= 0:
        return "--" + term.kind.replace("_", "-")
    return "--unlike-prompt" if term.kind == "prompt" else "--not-" + term.kind.replace("_", "-")
