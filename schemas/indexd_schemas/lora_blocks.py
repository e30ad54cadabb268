"""LoRA weights by block: `{"in": 0.5, "mid": 1, "out4-8": 0}` -> one factor for each block.

The blocks follow SDXL's original layout: `in0` to `in8` on the down path, `mid`, `out0` to `out8` on the up path. `base` is both text
encoders, and `other` everything outside the blocks (time and size embeddings, the last convolution). A list follows A1111's extension
"LoRA Block Weight": 12 numbers for the blocks with attention, or 20 for all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

SIDE_BLOCKS = 9
TEXT_BLOCK, OUTER_BLOCK = "base", "other"
UNET_BLOCKS = (
    *(f"in{number}" for number in range(SIDE_BLOCKS)),
    "mid",
    *(f"out{number}" for number in range(SIDE_BLOCKS)),
    OUTER_BLOCK,
)
BLOCKS = (TEXT_BLOCK, *UNET_BLOCKS)
MAX_FACTOR = 10.0
LIST_LAYOUTS: Mapping[int, tuple[str, ...]] = {
    12: ("base", "in4", "in5", "in7", "in8", "mid", "out0", "out1", "out2", "out3", "out4", "out5"),
    20: tuple(block for block in BLOCKS if block != OUTER_BLOCK),
}

_KEY = re.compile(r"(base|other|mid|in|out)(?:0*(\d{1,2})(?:\s*-\s*0*(\d{1,2}))?)?")
_FACTOR = re.compile(r"\s*[+-]?(?:\d{1,6}\.?\d{0,12}|\.\d{1,12})\s*")


def block_factors(blocks: Mapping[str, float]) -> dict[str, float]:
    """The factor of every block. Default 1; a more specific key wins. Raises ValueError."""
    found = dict.fromkeys(BLOCKS, 1.0)
    spans = {key: _span(key) for key in blocks}
    for key in sorted(blocks, key=lambda name: -len(spans[name])):
        if not -MAX_FACTOR <= blocks[key] <= MAX_FACTOR:
            raise ValueError(f"{key} must lie between {-MAX_FACTOR:g} and {MAX_FACTOR:g} (got {blocks[key]:g})")
        rivals = [other for other in blocks if other != key and len(spans[other]) == len(spans[key])]
        for other in rivals:
            if set(spans[other]) & set(spans[key]):
                raise ValueError(f"{key} and {other} say different things about the same block; keep one")
        found.update(dict.fromkeys(spans[key], float(blocks[key])))
    return found


def blocks_from_list(numbers: Sequence[float]) -> dict[str, float]:
    """Factors by block from a list of 12 or 20 numbers. Raises ValueError."""
    if len(numbers) not in LIST_LAYOUTS:
        raise ValueError(f"a list of block weights has 12 or 20 numbers (got {len(numbers)}); or name the blocks")
    return {block: float(number) for block, number in zip(LIST_LAYOUTS[len(numbers)], numbers, strict=True)}


def blocks_from_text(text: str) -> dict[str, float]:
    """Parses the text after `lbw=` in a tag: `in=0.5,out4-8=0`, or a list of numbers. Raises ValueError."""
    parts = [part.partition("=") for part in text.split(",")]
    numbers = [value if equals else key for key, equals, value in parts]
    wrong = next((number for number in numbers if not _FACTOR.fullmatch(number)), None)
    if wrong is not None:
        raise ValueError(f"{wrong.strip()!r} is no number; write lbw=in=0.5,out4-8=0 or 12 or 20 numbers")
    if not any(equals for _, equals, _ in parts):
        return blocks_from_list([float(number) for number in numbers])
    found = {key.strip(): float(value) for key, equals, value in parts if equals}
    if len(found) != len(parts):
        raise ValueError("some of the block weights have no name, or one stands there twice")
    block_factors(found)
    return found


def _span(key: str) -> tuple[str, ...]:
    match = _KEY.fullmatch(key.strip().casefold())
    if match is None or (match[2] and match[1] not in ("in", "out")):
        raise ValueError(
            f"there is no block {key!r}; there are base, in0 to in8, mid, out0 to out8, other, in, out, in4-8"
        )
    side = match[1]
    if side not in ("in", "out"):
        return (side,)
    first = int(match[2] or 0)
    last = int(match[3]) if match[3] else first if match[2] else SIDE_BLOCKS - 1
    if not first <= last < SIDE_BLOCKS:
        raise ValueError(f"there is no block {key!r}; {side} goes from {side}0 to {side}{SIDE_BLOCKS - 1}")
    return tuple(f"{side}{number}" for number in range(first, last + 1))
