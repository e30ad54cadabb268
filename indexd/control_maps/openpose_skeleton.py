"""Body joints -> the coloured stick figure that ControlNets for poses were trained with (OpenPose's 18 joints)."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Joints = NDArray[np.float32]
"""(joints, 3): x and y in pixels, and how sure the finder is."""

COCO_JOINTS = 17
MIN_JOINT_CONFIDENCE = 0.3
# OpenPose's joints in COCO's numbers: nose, neck (between the shoulders), right arm, left arm, right leg, left leg, eyes, ears.
_FROM_COCO = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_SHOULDERS = (5, 6)
_LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
_COLOURS = tuple(
    tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number / len(_FROM_COCO), 1.0, 1.0))
    for number in range(len(_FROM_COCO))
)
_LIMB_BRIGHTNESS = 0.6
_NOMINAL_SIDE = 512
_STICK_PX = 4


def openpose_joints(coco: Joints) -> list[tuple[float, float] | None]:
    """The 18 joints of one person from COCO's 17; None = not seen."""
    neck = None
    if all(coco[joint, 2] >= MIN_JOINT_CONFIDENCE for joint in _SHOULDERS):
        middle = coco[list(_SHOULDERS), :2].mean(axis=0)
        neck = (float(middle[0]), float(middle[1]))
    return [
        neck
        if joint is None
        else (float(coco[joint, 0]), float(coco[joint, 1]))
        if coco[joint, 2] >= MIN_JOINT_CONFIDENCE
        else None
        for joint in _FROM_COCO
    ]


def draw_people(people: Sequence[Joints], width: int, height: int) -> NDArray[np.uint8]:
    """The figures of all people (COCO's joints) on black, (height, width, 3)."""
    canvas = np.zeros((height, width, 3), np.uint8)
    stick = max(1, round(_STICK_PX * min(width, height) / _NOMINAL_SIDE))
    figures = [openpose_joints(person) for person in people]
    for figure in figures:
        for (first, second), colour in zip(_LIMBS, _COLOURS, strict=False):
            start, end = figure[first], figure[second]
            if start is not None and end is not None:
                _draw_limb(canvas, start, end, stick, colour)
    canvas = (canvas * _LIMB_BRIGHTNESS).astype(np.uint8)
    for figure in figures:
        for joint, colour in zip(figure, _COLOURS, strict=True):
            if joint is not None:
                cv2.circle(canvas, (round(joint[0]), round(joint[1])), stick, colour, thickness=-1)
    return canvas


def _draw_limb(
    canvas: NDArray[np.uint8],
    start: tuple[float, float],
    end: tuple[float, float],
    stick: int,
    colour: tuple[int, ...],
) -> None:
    middle = (round((start[0] + end[0]) / 2), round((start[1] + end[1]) / 2))
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    angle = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
    shape = cv2.ellipse2Poly(middle, (max(1, round(length / 2)), stick), round(angle), 0, 360, 1)
    cv2.fillConvexPoly(canvas, np.asarray(shape, np.int32), colour)
