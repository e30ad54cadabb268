"""Images of groups of people with about equal numbers of faces of each of the twelve, for tests of characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image

from indexd.worker.calls import Box, intersection_over_union
from indexd_toyworld.drawing import draw, face_boxes
from indexd_toyworld.scene_sampling import scenes
from indexd_toyworld.world import CHARACTERS, UNKNOWN_CHARACTERS, Scene

ALL_CHARACTERS = (*CHARACTERS, *UNKNOWN_CHARACTERS)
SIDES = (64, 96)
"""Side of a scene in pixels; four scenes make an image."""
FACE_OVERLAP_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class GroupImage:
    """An image and its faces: name, and box as left, top, width and height in shares of the image."""

    image: Image.Image
    faces: tuple[tuple[str, Box], ...]


def group_images(seed: int, faces_per_character: int) -> Iterator[GroupImage]:
    """Images of two by two scenes with about `each` faces of each of the twelve, alone or in pairs."""
    random = Random(f"{seed} groups")
    wanted = dict.fromkeys(ALL_CHARACTERS, faces_per_character)
    chosen: list[Scene] = []
    for scene in scenes(seed, faces_per_character * 60, split="held_out") + scenes(
        seed, faces_per_character * 3, split="all", unknown=True
    ):
        people = [face.who for face in scene.faces]
        if people and not scene.flaw and all(wanted[who] > 0 for who in people):
            chosen.append(scene)
            for who in people:
                wanted[who] -= 1
    random.shuffle(chosen)
    for start in range(0, len(chosen) - 3, 4):
        yield _paste_grid(chosen[start : start + 4], random.choice(SIDES))


def _paste_grid(four: Sequence[Scene], side: int) -> GroupImage:
    image = Image.new("RGB", (2 * side, 2 * side))
    faces: list[tuple[str, Box]] = []
    for place, scene in enumerate(four):
        x, y = place % 2 * side, place // 2 * side
        image.paste(Image.fromarray(draw(scene, side)), (x, y))
        for who, left, top, right, bottom in face_boxes(scene, side):
            edges = (x + left, y + top, right - left, bottom - top)
            faces.append(
                (who, (edges[0] / (2 * side), edges[1] / (2 * side), edges[2] / (2 * side), edges[3] / (2 * side)))
            )
    return GroupImage(image, tuple(faces))


def find_drawn_face(image: GroupImage, box: Box) -> tuple[str, int] | None:
    """The drawn face under a detected one: its name and number in the image; None if there is none."""
    shared, place = max(
        ((intersection_over_union(box, face[1]), place) for place, face in enumerate(image.faces)), default=(0.0, 0)
    )
    return (image.faces[place][0], place) if shared >= FACE_OVERLAP_THRESHOLD else None
