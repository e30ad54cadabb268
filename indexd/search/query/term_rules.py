"""What a question can resemble: one row a kind of term, saying which layer it is compared with and how it is embedded.

Adding a kind (style, composition, a face) is a row here and a name in `indexd_schemas.api.requests.TermKind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from indexd.store.records import SEARCHED_COLUMNS, TextColumn
from indexd_schemas.api.requests import SearchTerm, TermKind


@dataclass(frozen=True, slots=True)
class TermRule:
    """`of` = what the term's value is (a face: the largest in a picture). `as_query` adds the model's query prefix. `fulltext` names the columns of the full
    text in which the words are looked for as well."""

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
    # SDXL's two text encoders, each of which reads the whole prompt: ViT-L/14 and ViT-bigG/14.
    "style": TermRule("clip_l", value_kind="words"),
    "composition": TermRule("clip_g", value_kind="words"),
}


def cli_option(term: SearchTerm) -> str:
    """The option of the command line that asks this term."""
    if term.weight >= 0:
        return "--" + term.kind.replace("_", "-")
    return "--unlike-prompt" if term.kind == "prompt" else "--not-" + term.kind.replace("_", "-")
