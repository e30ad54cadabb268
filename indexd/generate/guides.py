"""The controls and references of one render: their models held, their maps made, and what they add to a pass.

`guided` opens them for a render. Every pass of it, whatever its size, asks `influences_for` and gives the answer to
`denoise`: a pass that left it out would fail where there are references, because the UNet waits for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image

from indexd.control.maps import STAGE, Wish, control_map, fitted, method_of, readable
from indexd.errors import NotAPicture, NotRegular, RenderFailed
from indexd.generate.control_models import ControlModel, lease_control
from indexd.generate.control_nets import ControlNetInfluence, Steered, UnionInfluence
from indexd.generate.guidance import Influence
from indexd.generate.references import Reference, ReferenceInfluence, installed, lease_adapter, lease_encoder
from indexd.generate.task import Task, same
from indexd.images.decode import content_hash
from indexd.worker.calls import Box, GuideFiles, Render
from indexd_schemas.control import TYPES, control_type
from indexd_schemas.recipe import ControlRef, Recipe, ReferenceRef


@dataclass(frozen=True, slots=True)
class _Control:
    """One control that works: its wish, its ControlNet and the file of its picture."""

    wanted: ControlRef
    model: ControlModel
    file: GuideFiles


@dataclass(frozen=True, slots=True)
class Guides:
    """What a task has been given besides words. `controls` leaves out those of strength 0, `references` of weight 0.

    `whole` is the size of the picture that passes make parts of; None = the recipe's.
    """

    controls: tuple[_Control, ...]
    references: tuple[Reference, ...]
    whole: tuple[int, int] | None = None


@contextmanager
def guided(call: Render, task: Task) -> Iterator[Task]:
    """The task with its guides, whose recipe has their hashes; models are given back when the block is left.

    Raises RenderFailed with the control or reference that cannot be used, OutOfMemory, ModelOff.
    """
    recipe = task.recipe
    _check(recipe, call)
    with ExitStack() as leases:
        controls = [
            _control(task, wanted, file, leases) for wanted, file in zip(recipe.control, call.controls, strict=True)
        ]
        references = [
            _reference(task, wanted, file, leases)
            for wanted, file in zip(recipe.reference, call.references, strict=True)
        ]
        complete = recipe.model_copy(
            update={
                "control": tuple(one.wanted for one in controls),
                "reference": tuple(
                    wanted.model_copy(update={"model": wanted.model.model_copy(update={"hash": one.adapter.hash})})
                    for wanted, one in zip(recipe.reference, references, strict=True)
                ),
            }
        )
        guides = Guides(
            tuple(one for one in controls if one.wanted.strength),
            tuple(one for one in references if one.weight),
        )
        leases.enter_context(installed(task.model.text_to_image.unet, guides.references))
        yield dataclasses.replace(task, recipe=complete, guides=guides)


def influences_for(task: Task, size: tuple[int, int], box: Box | None = None) -> tuple[Influence, ...]:
    """What bears on a pass of `size` (width, height) in pixels, both multiples of 8.

    `box` is the part of the picture that the pass makes (a tile, a face), as shares of it; None = all of it, with maps
    made in that size. Of a part, the maps of the whole picture's size are cut out, so that neighbours go by the same map.
    """
    guides: Guides | None = task.guides
    if guides is None:
        return ()
    influences: list[Influence] = []
    unions: dict[int, tuple[ControlModel, list[Steered]]] = {}
    for one in guides.controls:
        steered = _steered(task, one, size, box)
        if one.model.control_types:
            unions.setdefault(id(one.model), (one.model, []))[1].append(steered)
        else:
            influences.append(ControlNetInfluence(one.model.net, steered))
    influences += [UnionInfluence(model.net, controls) for model, controls in unions.values()]
    if guides.references:
        influences.append(ReferenceInfluence(guides.references))
    return tuple(influences)


def of_whole(task: Task, size: tuple[int, int]) -> Task:
    """The task of a picture of `size` of which the recipe's size is only a part, enlarged or shrunk."""
    if task.guides is None:
        return task
    return dataclasses.replace(task, guides=dataclasses.replace(task.guides, whole=size))


def share_of(box: tuple[int, int, int, int], size: tuple[int, int]) -> Box:
    """The part of a picture of `size` between left, top, right and bottom in pixels, for `influences_for`."""
    left, top, right, bottom = box
    width, height = size
    return left / width, top / height, (right - left) / width, (bottom - top) / height


def _check(recipe: Recipe, call: Render) -> None:
    if len(recipe.control) != len(call.controls) or len(recipe.reference) != len(call.references):
        raise RenderFailed("the recipe names controls or references that have no files; they are gone since admission")
    for wanted in recipe.control:
        if wanted.type not in TYPES:
            raise RenderFailed(f"there is no control type {wanted.type!r}; there are {', '.join(TYPES)}")
        if not (0 <= wanted.start <= wanted.end <= 1) or not 0 <= wanted.strength <= 10:
            raise RenderFailed(
                f"control {wanted.type}: start and end must be shares of the steps in order, and strength 0 to 10 "
                f"(got {wanted.start}, {wanted.end}, {wanted.strength})"
            )


def _control(task: Task, wanted: ControlRef, file: GuideFiles, leases: ExitStack) -> _Control:
    """One control with what only the worker knows. Raises RenderFailed where the model does not fit the type."""
    name, kind, session = wanted.model.name, control_type(wanted.type), task.session
    session.between_steps()
    session.progress(STAGE, 0, 1)
    model = leases.enter_context(lease_control(session, task.model, name, file.model))
    same("ControlNet", name, wanted.model.hash, model.hash)
    index = kind.union_index
    if model.control_types and (index is None or index >= model.control_types):
        known = [one.name for one in TYPES.values() if (one.union_index or 0) < model.control_types and one.words]
        raise RenderFailed(f"ControlNet {name} is a union of {', '.join(known)}; it has no {wanted.type}")
    method = None
    if wanted.preprocess:
        with _said_of(f"the picture {wanted.image_name} of control {wanted.type}"):
            method = method_of(_wish(wanted, file, None), session) or None
    if None not in (wanted.map, method) and wanted.map != method:
        raise RenderFailed(
            f"the {wanted.type} map was made by {wanted.map} when the recipe was written, and {method} is set now; "
            "set that model again, or take the map out of the recipe"
        )
    hashed = wanted.model.model_copy(update={"hash": model.hash})
    return _Control(wanted.model_copy(update={"model": hashed, "map": method}), model, file)


def _reference(task: Task, wanted: ReferenceRef, file: GuideFiles, leases: ExitStack) -> Reference:
    name, session = wanted.model.name, task.session
    session.between_steps()
    session.progress(STAGE, 0, 1)
    adapter = leases.enter_context(lease_adapter(session, task.model, name, file.model))
    same("IP-Adapter", name, wanted.model.hash, adapter.hash)
    encoder = leases.enter_context(lease_encoder(session, task.model, name, file.model, adapter))
    with _said_of(f"the reference picture {wanted.image_name}"):
        picture = _pictured(file, wanted.image, None)
    given, nothing = session.pool.with_room(partial(encoder.embedded, picture, adapter.plain))
    return Reference(adapter, given, nothing, wanted.weight)


def _wish(wanted: ControlRef, file: GuideFiles, size: tuple[int, int] | None) -> Wish:
    plain = Wish(file.image, control_type(wanted.type), size)
    if wanted.low is None or wanted.high is None:
        return plain
    return dataclasses.replace(plain, low=wanted.low, high=wanted.high)


def _steered(task: Task, one: _Control, size: tuple[int, int], box: Box | None) -> Steered:
    whole = size if box is None else (task.guides and task.guides.whole) or (task.recipe.width, task.recipe.height)
    wanted, model = one.wanted, task.model
    with _said_of(f"the picture {wanted.image_name} of control {wanted.type}"):
        if wanted.preprocess:
            picture = control_map(_wish(wanted, one.file, whole), task.session, wanted.image).picture
        else:
            picture = _pictured(one.file, wanted.image, whole)
    if box is not None:
        left, top = box[0] * whole[0], box[1] * whole[1]
        part = (left, top, left + box[2] * whole[0], top + box[3] * whole[1])
        picture = picture.resize(size, Image.Resampling.LANCZOS, box=part)
    processor = model.text_to_image.image_processor
    pixels: torch.Tensor = processor.pil_to_numpy(picture)
    pixels = processor.numpy_to_pt(pixels).to(model.device, model.text_to_image.unet.dtype)
    index = control_type(wanted.type).union_index or 0
    return Steered(pixels, wanted.strength, wanted.start, wanted.end, index)


def _pictured(file: GuideFiles, content: str, size: tuple[int, int] | None) -> Image.Image:
    if content_hash(file.image) != content:
        raise NotAPicture("is not the one that the recipe names; it was changed since")
    return fitted(file.image, size, content)


@contextmanager
def _said_of(picture: str) -> Iterator[None]:
    """What is wrong with a picture, said with its name."""
    try:
        yield
    except (NotAPicture, NotRegular, OSError) as error:
        raise RenderFailed(f"{picture} {readable(error)}") from error
