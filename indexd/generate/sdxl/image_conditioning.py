"""The controls and references of one render: their models leased, their maps built, and what they add to each pass.

`attach_image_conditioning` opens them for a render. Every pass takes its hooks from
`pass_hooks.hooks_for_pass`, because the UNet fails without them while IP-Adapters are installed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image

from indexd.control_maps.control_map import (
    STAGE,
    ControlMapSpec,
    build_control_map,
    error_text,
    load_fitted_image,
    map_method,
)
from indexd.errors import NotAnImage, NotRegularFile, RenderFailed
from indexd.generate.context import DenoiseTask, file_path
from indexd.generate.file_hashes import check_hash
from indexd.generate.sdxl.controlnet import ControlInput, ControlNetHook, ControlNetUnionHook
from indexd.generate.sdxl.controlnet_loader import LoadedControlNet, lease_controlnet
from indexd.generate.sdxl.guided_unet import UnetHook
from indexd.generate.sdxl.ip_adapter import (
    ImageReference,
    IPAdapterHook,
    install_ip_adapters,
    lease_image_encoder,
    lease_ip_adapter,
)
from indexd.generate.sdxl.pipeline import SdxlModel
from indexd.images.file_hash import hash_file_hex
from indexd.worker.calls import Box, Render
from indexd_schemas.control_types import CONTROL_TYPES, find_control_type
from indexd_schemas.recipe import ControlRef, ReferenceRef


@dataclass(frozen=True, slots=True)
class _LoadedControl:
    """One control: its recipe, its ControlNet and the path of its image."""

    control_ref: ControlRef
    model: LoadedControlNet
    image_path: bytes


@dataclass(frozen=True, slots=True)
class SdxlImageConditioning:
    """The controls and references of a task, without those of strength or weight 0.

    `full_size` is the size of the image of which passes render parts; None = the recipe's.
    """

    controls: tuple[_LoadedControl, ...]
    references: tuple[ImageReference, ...]
    full_size: tuple[int, int] | None = None

    def hooks(self, task: DenoiseTask, size: tuple[int, int], box: Box | None) -> tuple[UnetHook, ...]:
        """See `pass_hooks.hooks_for_pass`."""
        hooks: list[UnetHook] = []
        unions: dict[int, tuple[LoadedControlNet, list[ControlInput]]] = {}
        for one in self.controls:
            control_input = _build_control_input(task, self.full_size, one, size, box)
            if one.model.union_type_count:
                unions.setdefault(id(one.model), (one.model, []))[1].append(control_input)
            else:
                hooks.append(ControlNetHook(one.model.net, control_input))
        hooks += [ControlNetUnionHook(model.net, controls) for model, controls in unions.values()]
        if self.references:
            hooks.append(IPAdapterHook(self.references))
        return tuple(hooks)

    def with_full_size(self, size: tuple[int, int]) -> SdxlImageConditioning:
        """The same for passes that render parts of an image of `size`."""
        return dataclasses.replace(self, full_size=size)


@contextmanager
def attach_image_conditioning(call: Render, task: DenoiseTask) -> Iterator[DenoiseTask]:
    """The task with its controls and references, whose recipe has their hashes; leases end with the context.

    Raises RenderFailed with the control or reference that cannot be used, OutOfMemory, ModelUnavailable.
    """
    recipe = task.recipe
    with ExitStack() as leases:
        controls = [_load_control(call, task, control, leases) for control in recipe.control]
        references = [_load_reference(call, task, reference, leases) for reference in recipe.reference]
        complete = recipe.model_copy(
            update={
                "control": tuple(one.control_ref for one in controls),
                "reference": tuple(
                    wanted.model_copy(update={"model": wanted.model.model_copy(update={"hash": one.adapter.hash})})
                    for wanted, one in zip(recipe.reference, references, strict=True)
                ),
            }
        )
        conditioning = SdxlImageConditioning(
            tuple(one for one in controls if one.control_ref.strength),
            tuple(one for one in references if one.weight),
        )
        leases.enter_context(install_ip_adapters(_sdxl_model(task).pipeline.unet, conditioning.references))
        yield dataclasses.replace(task, recipe=complete, image_conditioning=conditioning)


def _sdxl_model(task: DenoiseTask) -> SdxlModel:
    assert isinstance(task.model, SdxlModel), "only SdxlModel.with_image_conditioning leads here"
    return task.model


def _load_control(call: Render, task: DenoiseTask, control_ref: ControlRef, leases: ExitStack) -> _LoadedControl:
    """One control with what only the worker knows. Raises RenderFailed where the model does not fit the type."""
    name, kind, session = control_ref.model.name, find_control_type(control_ref.type), task.session
    session.poll()
    session.progress(STAGE, 0, 1)
    path = str(file_path(call, "controlnet", name))
    image_path = os.fsencode(file_path(call, "image", control_ref.image))
    model = leases.enter_context(lease_controlnet(session, _sdxl_model(task), name, path))
    check_hash("ControlNet", name, control_ref.model.hash, model.hash)
    index = kind.union_index
    if model.union_type_count and (index is None or index >= model.union_type_count):
        known = [
            one.name for one in CONTROL_TYPES.values() if (one.union_index or 0) < model.union_type_count and one.words
        ]
        raise RenderFailed(f"ControlNet {name} is a union of {', '.join(known)}; it has no {control_ref.type}")
    method = None
    if control_ref.preprocess:
        with _naming_image(f"the image {control_ref.image_name} of control {control_ref.type}"):
            method = map_method(_map_spec(control_ref, image_path, None), session) or None
    if None not in (control_ref.map, method) and control_ref.map != method:
        raise RenderFailed(
            f"the {control_ref.type} map was made by {control_ref.map} when the recipe was written, and {method} is set now; "
            "set that model again, or take the map out of the recipe"
        )
    hashed = control_ref.model.model_copy(update={"hash": model.hash})
    return _LoadedControl(control_ref.model_copy(update={"model": hashed, "map": method}), model, image_path)


def _load_reference(call: Render, task: DenoiseTask, reference_ref: ReferenceRef, leases: ExitStack) -> ImageReference:
    name, session = reference_ref.model.name, task.session
    session.poll()
    session.progress(STAGE, 0, 1)
    path = str(file_path(call, "ip_adapter", name))
    image_path = os.fsencode(file_path(call, "image", reference_ref.image))
    adapter = leases.enter_context(lease_ip_adapter(session, _sdxl_model(task), name, path))
    check_hash("IP-Adapter", name, reference_ref.model.hash, adapter.hash)
    encoder = leases.enter_context(lease_image_encoder(session, _sdxl_model(task), name, path, adapter))
    with _naming_image(f"the reference image {reference_ref.image_name}"):
        image = _load_image(image_path, reference_ref.image, None)
    embedding, empty = session.pool.run_with_eviction(partial(encoder.embed, image, adapter.is_plain))
    return ImageReference(adapter, embedding, empty, reference_ref.weight)


def _map_spec(control_ref: ControlRef, image_path: bytes, size: tuple[int, int] | None) -> ControlMapSpec:
    plain = ControlMapSpec(image_path, find_control_type(control_ref.type), size)
    if control_ref.low is None or control_ref.high is None:
        return plain
    return dataclasses.replace(plain, low=control_ref.low, high=control_ref.high)


def _build_control_input(
    task: DenoiseTask,
    full_size: tuple[int, int] | None,
    control: _LoadedControl,
    size: tuple[int, int],
    box: Box | None,
) -> ControlInput:
    whole = size if box is None else full_size or (task.recipe.width, task.recipe.height)
    wanted, model = control.control_ref, _sdxl_model(task)
    with _naming_image(f"the image {wanted.image_name} of control {wanted.type}"):
        if wanted.preprocess:
            image = build_control_map(_map_spec(wanted, control.image_path, whole), task.session, wanted.image).image
        else:
            image = _load_image(control.image_path, wanted.image, whole)
    if box is not None:
        left, top = box[0] * whole[0], box[1] * whole[1]
        part = (left, top, left + box[2] * whole[0], top + box[3] * whole[1])
        image = image.resize(size, Image.Resampling.LANCZOS, box=part)
    processor = model.pipeline.image_processor
    pixels: torch.Tensor = processor.pil_to_numpy(image)
    pixels = processor.numpy_to_pt(pixels).to(model.device, model.latent_dtype)
    index = find_control_type(wanted.type).union_index or 0
    return ControlInput(pixels, wanted.strength, wanted.start, wanted.end, index)


def _load_image(path: bytes, content: str, size: tuple[int, int] | None) -> Image.Image:
    if hash_file_hex(path) != content:
        raise NotAnImage("is not the one that the recipe names; it was changed since")
    return load_fitted_image(path, size, content)


@contextmanager
def _naming_image(image: str) -> Iterator[None]:
    """Errors of reading an image become RenderFailed with its name."""
    try:
        yield
    except (NotAnImage, NotRegularFile, OSError) as error:
        raise RenderFailed(f"{image} {error_text(error)}") from error
