"""Where the words of a query stand in the texts of a hit: excerpts with the places of all matches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from indexd.search.serialization import sanitize_text
from indexd.store.protocols import IndexStore
from indexd.store.records import Filter, TextColumn
from indexd.text_tokens import Phrase, find_phrases, parse_query
from indexd_schemas.api.output import TextMatch

EXCERPT_CHARACTERS = 160
CHARACTERS_BEFORE = 40
"""So many characters of an excerpt precede the first match."""

FILTER_COLUMNS: dict[str, TextColumn] = {"prompt": "prompt", "negative": "negative", "raw_prompt": "raw_prompt"}
"""The filters that ask for words, and the full-text column that each reads."""


@dataclass(frozen=True, slots=True)
class SoughtWords:
    """The phrases of one term or filter, and the columns that it reads; `cli_text` is it as on the command line."""

    cli_text: str
    phrases: tuple[Phrase, ...]
    columns: tuple[TextColumn, ...]


def words_of_filters(filters: Collection[Filter]) -> Iterator[SoughtWords]:
    """The words that filters ask for; an excluding filter asks for none."""
    for one in filters:
        if one.op == "=" and not one.negate and one.key in FILTER_COLUMNS:
            text = f"{one.key}:{one.value}"
            yield SoughtWords(text, tuple(parse_query(one.value or "")), (FILTER_COLUMNS[one.key],))


def find_text_matches(
    store: IndexStore, ids: Sequence[int], sought: Sequence[SoughtWords]
) -> dict[int, list[TextMatch]]:
    """The matches in the texts of each image, by id; images without any have an empty list."""
    found: dict[int, list[TextMatch]] = {image_id: [] for image_id in ids}
    if not any(words.phrases for words in sought):
        return found
    for image_id, texts in store.fulltext.texts(ids).items():
        for words in sought:
            for column in words.columns:
                match = _excerpt(words, column, sanitize_text(texts[column]))
                if match is not None:
                    found[image_id].append(match)
    return found


def _excerpt(words: SoughtWords, column: TextColumn, text: str) -> TextMatch | None:
    places = find_phrases(text, words.phrases) if text else []
    if not places:
        return None
    start = max(0, places[0][0] - CHARACTERS_BEFORE)
    end = max(start + EXCERPT_CHARACTERS, places[0][1])
    spans = [(first - start, last - start) for first, last in places if last <= end]
    return TextMatch(term=words.cli_text, column=column, text=text[start:end], start=start, spans=spans)
