"""Texts that change from step to step: `[a:b:0.5]`, `[a:b:12]`, `[b:0.5]`, `[a::0.5]`, `[a|b]`.

The rules are those of A1111 (modules/prompt_parser.py and the wiki page "Features"): a number with a point is a share
of the steps, one without a step; the first text holds up to and including that step, `[a|b]` takes turns from the first
step on. Brackets that say none of this are left for the weights (indexd/prompts/emphasis.py), and so is every bracket that is
not balanced within its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\", re.DOTALL)
_WHEN = re.compile(r"\s*([+-]?(?:\d{1,9}\.?\d{0,12}|\.\d{1,12}))\s*")


@dataclass(frozen=True, slots=True)
class PromptSwitch:
    """`before` up to the step that `when` means, then `after`."""

    before: Sequence[ScheduleNode]
    after: Sequence[ScheduleNode]
    when: str

    def last_step_before(self, steps: int) -> int:
        """The last step, counted from 1, of the text before; 0 = it never holds."""
        moment = float(self.when)
        return max(0, min(steps, int(moment * steps if "." in self.when else moment)))


@dataclass(frozen=True, slots=True)
class PromptAlternation:
    """One of the texts after the other, a step each."""

    texts: Sequence[Sequence[ScheduleNode]]


ScheduleNode = str | PromptSwitch | PromptAlternation


@dataclass(slots=True)
class _OpenBracket:
    """A bracket that waits for its end: where it stands in the nodes, and where `:` and `|` of its own stand."""

    sign: str
    start: int
    colons: list[int] = field(default_factory=list)
    bars: list[int] = field(default_factory=list)
    is_unbalanced: bool = False


class PromptSchedule:
    """A prompt as a function of the step."""

    def __init__(self, prompt: str) -> None:
        self._nodes = _parse(prompt)
        self.varies_by_step = any(not isinstance(node, str) for node in self._nodes)

    def at(self, step: int, steps: int) -> str:
        """The text of step `step` (counted from 1) of `steps`."""
        if not self.varies_by_step:
            return "".join(node for node in self._nodes if isinstance(node, str))
        texts: list[str] = []
        waiting = list(reversed(self._nodes))
        while waiting:
            node = waiting.pop()
            if isinstance(node, str):
                texts.append(node)
            elif isinstance(node, PromptSwitch):
                waiting.extend(reversed(node.before if step <= node.last_step_before(steps) else node.after))
            else:
                waiting.extend(reversed(node.texts[(step - 1) % len(node.texts)]))
        return "".join(texts)


def _parse(prompt: str) -> list[ScheduleNode]:
    nodes: list[ScheduleNode] = []
    opened: list[_OpenBracket] = []
    for token in _TOKEN.findall(prompt):
        if token in ("[", "("):
            opened.append(_OpenBracket(token, len(nodes)))
        elif token == ")":
            _close_round(opened)
        elif token == "]":
            bracket = _close_square(opened)
            if bracket is not None and (node := _parse_bracket(nodes, bracket)) is not None:
                nodes[bracket.start :] = [node]
                continue
        elif token == ":" and opened:
            opened[-1].colons.append(len(nodes))
        elif token == "|" and opened:
            opened[-1].bars.append(len(nodes))
        nodes.append(token)
    return nodes


def _close_round(opened: list[_OpenBracket]) -> None:
    if opened and opened[-1].sign == "(":
        opened.pop()
    elif opened:
        opened[-1].is_unbalanced = True


def _close_square(opened: list[_OpenBracket]) -> _OpenBracket | None:
    """The bracket that ends here. If a round bracket inside it is still open, both are literal text."""
    if opened and opened[-1].sign == "[":
        bracket = opened.pop()
        return None if bracket.is_unbalanced else bracket
    while opened and opened.pop().sign == "(":
        pass
    return None


def _parse_bracket(nodes: list[ScheduleNode], bracket: _OpenBracket) -> ScheduleNode | None:
    """The switch that the bracket states, None where it states none."""
    inner = bracket.start + 1
    if bracket.colons and len(bracket.colons) <= 2:
        last = bracket.colons[-1]
        when = _WHEN.fullmatch("".join(node if isinstance(node, str) else "?" for node in nodes[last + 1 :]))
        if when is not None:
            first = bracket.colons[0] if len(bracket.colons) == 2 else inner - 1
            return PromptSwitch(nodes[inner:first] if first >= inner else [], nodes[first + 1 : last], when[1])
    if bracket.bars:
        edges = [inner - 1, *bracket.bars, len(nodes)]
        return PromptAlternation([nodes[start + 1 : end] for start, end in itertools.pairwise(edges)])
    return None
