"""Expanding templates, beside `itertools.product` over the same words in the same run.

python -m bench.templates
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence

from bench.support.report import print_result
from indexd.templates.syntax import Sampling
from indexd.templates.template import compile_text

WORDS = [[f"word{slot}-{index}" for index in range(10)] for slot in range(6)]
MILLION = " ".join("{" + "|".join(words) + "}" for words in WORDS)
TRILLION = " ".join([MILLION, MILLION])
BAR_SECONDS = 2.0
RECORDED = 20_000


def main() -> None:
    """Measure and print."""
    peer = _seconds(" ".join(words) for words in itertools.product(*WORDS))
    for name, text, order in _cases():
        template = compile_text(text, order=order, seed=1)
        took = _seconds(itertools.islice(template.texts(), 10**6))
        print_result(f"10^6 texts, {name}", took, "s", peer, "itertools.product", f"<= {BAR_SECONDS:g} s")
    template = compile_text(TRILLION)
    parsing = min(_seconds(compile_text(TRILLION) for _ in range(1)) for _ in range(5))
    print_result(f"parsed and counted: {template.count:.0e} combinations", 1e3 * parsing, "ms", bar="about 1 ms")
    began = time.perf_counter()
    template.at(template.count // 3)
    print_result("one combination of them with its choices", 1e3 * (time.perf_counter() - began), "ms", bar="<= 1 ms")
    took = _seconds(itertools.islice(compile_text(MILLION).combinations(), RECORDED))
    print_result(f"{RECORDED} combinations with their choices", took, "s")


def _cases() -> Sequence[tuple[str, str, Sampling]]:
    return (
        ("product of 10^6", MILLION, "product"),
        ("random order of 10^6", MILLION, "random"),
        ("product of 10^12", TRILLION, "product"),
        ("random order of 10^12", TRILLION, "random"),
    )


def _seconds(texts: Iterable[object]) -> float:
    began = time.perf_counter()
    for _ in texts:
        pass
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
