"""Which scenes are held out of all training. The combination alone decides, equally on every machine."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b

from indexd_toyworld.world import Scene

HELD_OUT_SHARE = 0.15


def is_held_out(scene: Scene) -> bool:
    """Whether one of the scene's combinations is held out.

    Combinations: shape x colour x background, character x expression x background, and the two things (by shape and colour) or the two
    people of a pair, in any order. Size, place, flaw and seed do not matter.
    """
    combinations: list[tuple[str, ...]] = [
        *(("thing", thing.shape, thing.colour, scene.background) for thing in scene.things),
        *(("face", face.who, face.expression, scene.background) for face in scene.faces),
    ]
    if len(scene.things) == 2:
        combinations.append(("things", *sorted(f"{thing.colour} {thing.shape}" for thing in scene.things)))
    if len(scene.faces) == 2:
        combinations.append(("faces", *sorted(face.who for face in scene.faces)))
    return any(_is_combination_held_out(combination) for combination in combinations)


@cache
def _is_combination_held_out(combination: tuple[str, ...]) -> bool:
    digest = blake2b("|".join(combination).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**64
