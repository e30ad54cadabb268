"""Made-up prompts in several scripts, with the frequencies of words and characters of real texts (Zipf)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORDS_PER_PROMPT = 60
VOCABULARY_SIZE = 20_000
LANGUAGE_SHARES = {"en": 0.5, "zh": 0.15, "ja": 0.12, "ko": 0.1, "th": 0.05, "mixed": 0.08}
_WORD_EXPONENT = 1.25
_CHARACTER_EXPONENT = 0.9
_EMOJI = [chr(code) for code in range(0x1F300, 0x1F64F)]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words of a language, the most frequent first, and what parts them."""

    words: Sequence[str]
    separator: str


def lexicons() -> dict[str, Lexicon]:
    """A lexicon for each language of LANGUAGE_SHARES but `mixed`, the same in every run."""
    chance = np.random.default_rng(1)
    han, hangul = _shuffled(chance, 0x4E00, 3500), _shuffled(chance, 0xAC00, 1500)
    hiragana, katakana = _shuffled(chance, 0x3042, 80), _shuffled(chance, 0x30A2, 80)
    thai = [
        chr(code) for code in (*range(0xE01, 0xE2F), *range(0xE30, 0xE3A), *range(0xE40, 0xE45), *range(0xE47, 0xE4D))
    ]
    japanese = [
        *_words(chance, han, 6000, (1, 2, 2)),
        *_words(chance, katakana, 3000, (3, 4, 5)),
        *_words(chance, hiragana, 3000, (1, 2, 3)),
    ]
    return {
        "en": Lexicon([f"w{number}" for number in range(1, VOCABULARY_SIZE + 1)], " "),
        "zh": Lexicon(_words(chance, han, 15_000, (1, 2, 2, 2, 2, 3, 4)), ""),
        "ja": Lexicon([japanese[at] for at in chance.permutation(len(japanese))], ""),
        "ko": Lexicon(_words(chance, hangul, 12_000, (2, 2, 3, 3, 4)), " "),
        "th": Lexicon(_words(chance, thai, 8000, (3, 4, 5, 6)), ""),
    }


def prompts(known: dict[str, Lexicon], start: int, count: int) -> Iterator[str]:
    """Prompts from number `start` on, the same for a number in every run."""
    chance = np.random.default_rng((7, start))
    ranks = np.minimum(chance.zipf(_WORD_EXPONENT, (count, WORDS_PER_PROMPT)), VOCABULARY_SIZE) - 1
    languages = chance.choice(list(LANGUAGE_SHARES), size=count, p=list(LANGUAGE_SHARES.values()))
    for language, row in zip(languages.tolist(), ranks, strict=True):
        if language != "mixed":
            yield "，".join(_text(known[language], row[at : at + 6]) for at in range(0, WORDS_PER_PROMPT, 6))
            continue
        emoji = "".join(_EMOJI[rank % len(_EMOJI)] for rank in row[:4])
        yield f"{_text(known['en'], row[:30])} {emoji}，{_text(known['zh'], row[30:45])} ＡＢ１２"


def _text(lexicon: Lexicon, ranks: NDArray[np.int64]) -> str:
    return lexicon.separator.join(lexicon.words[rank % len(lexicon.words)] for rank in ranks)


def _shuffled(chance: np.random.Generator, first: int, count: int) -> list[str]:
    return [chr(first + at) for at in chance.permutation(count)]


def _words(chance: np.random.Generator, characters: list[str], count: int, lengths: tuple[int, ...]) -> list[str]:
    weights = 1 / np.arange(1, len(characters) + 1) ** _CHARACTER_EXPONENT
    return [
        "".join(chance.choice(characters, size=int(n), p=weights / weights.sum()))
        for n in chance.choice(lengths, count)
    ]
