"""What a question can resemble: one row a kind of term, saying which layer it is compared with and how it is embedded.

Adding a kind (style, composition, a face) is a row here and a name in `indexd_schemas.question.TermKind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from indexd_schemas.question import TermKind


@dataclass(frozen=True, slots=True)
class TermRule:
    """`of` = what the term's value is. `as_query` adds the model's query prefix. `fulltext` asks the words as well."""

    layer: str
    of: Literal["image", "words"]
    as_query: bool = False
    fulltext: bool = False


TERMS: dict[TermKind, TermRule] = {
    "similar": TermRule("clip_h", of="image"),
    "text": TermRule("clip_h", of="words", as_query=True),
    "prompt": TermRule("bge_prompt", of="words", as_query=True, fulltext=True),
}
