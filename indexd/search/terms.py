"""What a question can resemble: one row a kind of term, saying which layer it is compared with and how it is embedded.

Adding a kind (style, composition, a face) is a row here and a name in `indexd_schemas.question.TermKind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from indexd.store.fulltext import SEARCHED
from indexd_schemas.question import Term, TermKind


@dataclass(frozen=True, slots=True)
class TermRule:
    """`of` = what the term's value is (a face: the largest in a picture). `as_query` adds the model's query prefix. `fulltext` names the columns of the full
    text in which the words are looked for as well."""

    layer: str
    of: Literal["image", "words", "face"]
    as_query: bool = False
    fulltext: str | None = None


TERMS: dict[TermKind, TermRule] = {
    "similar": TermRule("clip_h", of="image"),
    "face": TermRule("face", of="face"),
    "text": TermRule("clip_h", of="words", as_query=True),
    "prompt": TermRule("bge_prompt", of="words", as_query=True, fulltext=SEARCHED),
    "negative_prompt": TermRule("bge_negative", of="words", as_query=True, fulltext="{negative}"),
    # SDXL's two text encoders, each of which reads the whole prompt: ViT-L/14 and ViT-bigG/14.
    "style": TermRule("clip_l", of="words"),
    "composition": TermRule("clip_g", of="words"),
}


def option_of(term: Term) -> str:
    """The option of the command line that asks this term."""
    if term.weight >= 0:
        return "--" + term.kind.replace("_", "-")
    return "--unlike-prompt" if term.kind == "prompt" else "--not-" + term.kind.replace("_", "-")
