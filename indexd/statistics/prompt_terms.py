"""Which terms of prompts go with five stars: log-odds with an informative Dirichlet prior.

Monroe, Colaresi and Quinn, "Fightin' Words: Lexical Feature Selection and Evaluation for Identifying the Content of
Political Conflict", Political Analysis 16 (2008), equations 15, 16, 20 and 22. A plain ratio is won by terms that stand in
one prompt; a plain difference by "masterpiece". With the prior a rare term has to earn its odds, and dividing by the
standard error puts what is certain first.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

MAX_PRIOR_TERMS = 500.0
"""The weight of the prior, in terms: as if so many had been seen in each group, spread as they are over all prompts. Less
where a group has less, so that the prior never outweighs what was seen."""
MIN_PROMPTS = 3
"""A term in fewer prompts is not listed."""
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
    """A term in `five` prompts of the one group and `others` of the other. `z` = `log_odds` in standard errors."""

    term: str
    five: int
    others: int
    log_odds: float
    z: float


def extract_terms(prompt: str) -> Iterator[str]:
    """The terms of a prompt, each once: phrases between commas without weights and brackets; longer ones as words."""
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
    """In how many prompts each term stands."""
    counted: Counter[str] = Counter()
    for prompt in prompts:
        counted.update(extract_terms(prompt))
    return counted


def log_odds(five: Mapping[str, int], others: Mapping[str, int]) -> list[TermOdds]:
    """Every term that stands in at least LEAST_PICTURES prompts, the one most at home in `five` first.

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
        if rest_one <= 0 or rest_other <= 0:  # the only term there is
            continue
        odds = math.log((one + prior) / rest_one) - math.log((other + prior) / rest_other)
        found.append(TermOdds(term, one, other, odds, odds / math.sqrt(1 / (one + prior) + 1 / (other + prior))))
    return sorted(found, key=lambda odds: (-odds.z, odds.term))
