"""Ranks prompt terms by their association with five stars: log-odds with an informative Dirichlet prior.

Monroe, Colaresi and Quinn, "Fightin' Words: Lexical Feature Selection and Evaluation for Identifying the Content of
Political Conflict", Political Analysis 16 (2008), equations 15, 16, 20 and 22. A plain ratio favours terms of a
single prompt, a plain difference favours terms of every prompt, such as "masterpiece". The prior shrinks the odds of rare
terms, and the division by the standard error ranks reliable terms first.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

MAX_PRIOR_TERMS = 500.0
"""Maximum weight of the prior, in terms that are distributed as in all prompts. It is at most the number of terms of the
smaller group, so that the prior never outweighs the data."""
MIN_PROMPTS = 3
"""A term of fewer prompts is not listed."""
MAX_TERM_WORDS = 3
MAX_PROMPT_CHARACTERS = 20_000
_STOP_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        "a an and are as at be break by for from has have he her his in into is it its of on or she that the their they"
        " this to was were which while who with you your",
    )
)

_EXTRA_NETWORK = re.compile(r"<[^<>]{0,200}>")
_WEIGHT = re.compile(r":\s*[-+]?\d*\.?\d+\s*(?=[)\]}])")
_BRACKETS = re.compile(r"(?<!\\)[()\[\]{}]|\\(?=[()\[\]{}])")
_SEPARATOR = re.compile(r"[,;.|\n]|\bBREAK\b|\bAND\b")
_WORD = re.compile(r"[^\W_][\w'-]*")


@dataclass(frozen=True, slots=True)
class TermOdds:
    """A term of `five` five-star prompts and `others` other prompts. `z` is `log_odds` in standard errors."""

    term: str
    five: int
    others: int
    log_odds: float
    z: float


def extract_terms(prompt: str) -> Iterator[str]:
    """The distinct terms of a prompt: phrases without weights and brackets. Phrases of over MAX_TERM_WORDS are split into words."""
    plain = _BRACKETS.sub("", _WEIGHT.sub("", _EXTRA_NETWORK.sub(",", prompt[:MAX_PROMPT_CHARACTERS])))
    found: dict[str, None] = {}
    for phrase in _SEPARATOR.split(plain):
        words = _WORD.findall(phrase.replace("_", " ").casefold())
        if len(words) > MAX_TERM_WORDS:
            found.update((word, None) for word in words if word not in _STOP_WORDS and len(word) > 1)
        elif words:
            found[" ".join(words)] = None
    return iter(found)


def count_terms(prompts: Iterable[str]) -> Counter[str]:
    """The number of prompts that contain each term."""
    counts: Counter[str] = Counter()
    for prompt in prompts:
        counts.update(extract_terms(prompt))
    return counts


def log_odds(five: Mapping[str, int], others: Mapping[str, int]) -> list[TermOdds]:
    """All terms of at least MIN_PROMPTS prompts, by falling `z`. `five` and `others` count the prompts of each term.

    With y counts of a term, n of all terms, a = prior · (share of the term in both groups together):
    log_odds = ln((y1 + a)/(n1 + prior - y1 - a)) - ln((y2 + a)/(n2 + prior - y2 - a)),
    variance = 1/(y1 + a) + 1/(y2 + a).
    """
    in_five, in_others = sum(five.values()), sum(others.values())
    if not in_five or not in_others:
        return []
    prior_terms = min(MAX_PRIOR_TERMS, in_five, in_others)
    found = []
    for term in five.keys() | others.keys():
        one, other = five.get(term, 0), others.get(term, 0)
        if one + other < MIN_PROMPTS:
            continue
        prior = prior_terms * (one + other) / (in_five + in_others)
        rest_one = in_five + prior_terms - one - prior
        rest_other = in_others + prior_terms - other - prior
        if rest_one <= 0 or rest_other <= 0:  # there is only one term
            continue
        odds = math.log((one + prior) / rest_one) - math.log((other + prior) / rest_other)
        found.append(TermOdds(term, one, other, odds, odds / math.sqrt(1 / (one + prior) + 1 / (other + prior))))
    return sorted(found, key=lambda odds: (-odds.z, odds.term))
