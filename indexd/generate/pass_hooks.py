"""Opens the model hooks of a render: ControlNets and IP-Adapters."""

from __future__ import annotations

import dataclasses

from indexd.generate.context import DenoiseTask
from indexd.generate.diffusion.guidance import ModelHook
from indexd.worker.calls import Box


def hooks_for_pass(task: DenoiseTask, size: tuple[int, int], box: Box | None = None) -> tuple[ModelHook, ...]:
    """The hooks of a pass of `size` (width, height) in pixels, both multiples of 8.

    `box` is the part of the image that the pass renders (a tile, a face), as shares of it; None = all of it, with maps in that
    size. For a part, the maps are built in the size of the whole image and cropped, so that neighbours follow the same map.
    """
    return () if task.image_conditioning is None else task.image_conditioning.hooks(task, size, box)


def with_full_size(task: DenoiseTask, size: tuple[int, int]) -> DenoiseTask:
    """The task of an image of `size`, of which the recipe's size is only a scaled part."""
    if task.image_conditioning is None:
        return task
    return dataclasses.replace(task, image_conditioning=task.image_conditioning.with_full_size(size))


def relative_box(box: tuple[int, int, int, int], size: tuple[int, int]) -> Box:
    """The part of an image of `size` between left, top, right and bottom in pixels, for `hooks_for_pass`."""
    left, top, right, bottom = box
    width, height = size
    return left / width, top / height, (right - left) / width, (bottom - top) / height
