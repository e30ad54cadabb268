"""Words inside prompts: names of embeddings, and trigger words of LoRAs that may be there already."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from indexd.name_key import name_key

_EMPHASIS_SYNTAX = re.compile(r"\\(?=[()\[\]\\])|(?<!\\)[()\[\]]|:[+-]?[\d.]{1,12}(?=\))")

# They follow a letter in decomposed text, and belong to its word.
_COMBINING_MARKS = "\u0300-\u036f"


@dataclass(frozen=True, slots=True)
class MatchedName:
    """A word that is the name of an embedding."""

    name: str


class NameMatcher:
    """Finds names in texts: whole words, without letter case and Unicode form, the longest at each place."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_key = {name_key(name): name for name in sorted(names) if name.strip()}
        spellings = {unicodedata.normalize(form, key) for key in self._by_key for form in ("NFC", "NFD")}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._pattern = (
            re.compile(
                rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?![\w{_COMBINING_MARKS}])", re.IGNORECASE
            )
            if longest_first
            else None
        )

    def split(self, text: str) -> Iterator[str | MatchedName]:
        """The text in pieces: names, and what stands between them."""
        end = 0
        for match in self._pattern.finditer(text) if self._pattern else ():
            if match.start() > end:
                yield text[end : match.start()]
            name = self._by_key.get(name_key(match[0]))
            yield match[0] if name is None else MatchedName(name)
            end = match.end()
        if end < len(text):
            yield text[end:]

    def find_names(self, text: str) -> list[str]:
        """The names that stand in the text, in its order, each once."""
        return list(dict.fromkeys(piece.name for piece in self.split(text) if isinstance(piece, MatchedName)))


def prepend_missing_triggers(prompt: str, triggers: Sequence[str], *, escaped: bool) -> str:
    """The prompt with those trigger words put before it that it does not hold yet.

    `escaped`: brackets in a trigger are written so that they are no weights.
    """
    plain = _normalize(_EMPHASIS_SYNTAX.sub("", prompt) if escaped else prompt)
    missing: list[str] = []
    for trigger in triggers:
        words = _normalize(trigger)
        if words and not re.search(rf"(?<!\w){re.escape(words)}(?!\w)", plain):
            missing.append(re.sub(r"([()\[\]\\])", r"\\\1", trigger.strip()) if escaped else trigger.strip())
            plain = f"{plain}, {words}"
    return ", ".join([*missing, prompt] if prompt.strip() else missing) if missing else prompt


def _normalize(text: str) -> str:
    return " ".join(name_key(text).replace("_", " ").split())
