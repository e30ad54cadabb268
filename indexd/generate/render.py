"""The call `Render`: one recipe -> one picture, as a row of stages (load, loras, text, denoise, decode, save)."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from indexd.errors import IndexdError, RenderFailed
from indexd.generate import decode, denoise, score
from indexd.generate.embeddings import load_embeddings, word_of
from indexd.generate.inpaint import Canvas, canvas_of, under_mask
from indexd.generate.latents import encoded, generator, noise, source_picture
from indexd.generate.loras import WantedLora
from indexd.generate.picture import png_bytes
from indexd.generate.pipeline import resident
from indexd.generate.task import Task
from indexd.generate.text import Conditioning
from indexd.generate.vae import with_vae
from indexd.models.device import is_out_of_memory
from indexd.worker.calls import Render, Rendered
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.samplers import Choice, UnknownSampler, resolve

log = logging.getLogger(__name__)

SIZE_STEP = 8


def render(call: Render, session: RenderSession) -> Rendered:
    """Make one picture. The answered recipe is complete: rendering it again gives the same bytes on the same device.

    Raises RenderFailed (which stage, what was measured), OutOfMemory, ModelOff (no checkpoint at the path) or
    CallCancelled (within one denoising step).
    """
    recipe = Recipe.model_validate(call.recipe)
    choice = _checked(recipe, call)
    seconds: dict[str, float] = {}
    session.between_steps()
    with ExitStack() as leases:
        session.progress("load", 0, 1)
        with _stage("load", seconds):
            model = leases.enter_context(resident(session, call.checkpoint, recipe.dtype))
            model, vae_hash = leases.enter_context(with_vae(session, model, _vae_file(call, recipe)))
        return _render(call, Task(_with_vae_hash(recipe, vae_hash), choice, model, session), seconds)


def _render(call: Render, task: Task, seconds: dict[str, float]) -> Rendered:
    room, canvas = task.session.pool.with_room, None
    if task.recipe.kind == "inpaint":
        with _stage("mask", seconds):
            canvas, recipe = canvas_of(call, task.recipe, task.session)
            task = replace(task, recipe=recipe)
    with _stage("loras", seconds):
        hashes = room(partial(task.model.loras.activate, _wanted(call, task.recipe)))
        complete = _completed(task, hashes)
    task.session.between_steps()
    with _stage("text", seconds):
        task = _with_embeddings(call, task)
        conditioning = room(partial(_conditioning, task))
    task.session.between_steps()
    with _stage(denoise.STAGE, seconds):
        latents = room(partial(_denoised, call, task, conditioning, canvas))
    task.session.progress(decode.STAGE, 0, 1)
    with _stage(decode.STAGE, seconds):
        picture = room(partial(decode.pixels, task.model, latents))
        picture = picture if canvas is None else canvas.put_back(picture)
    task.session.between_steps()
    with _stage(score.STAGE, seconds):
        complete = score.scored(complete, picture, task.session)
    with _stage("save", seconds):
        png = png_bytes(picture, complete)
    return Rendered(png, complete.model_dump(mode="json"), seconds)


def _checked(recipe: Recipe, call: Render) -> Choice:
    """The sampler by its canonical name. Raises RenderFailed for what the row of stages cannot carry out."""
    # Inpaint continues a picture of any size up to the next multiple, and cuts it again.
    step = 1 if recipe.mask is not None and not recipe.mask.only_masked else SIZE_STEP
    if min(recipe.width, recipe.height) < SIZE_STEP or recipe.width % step or recipe.height % step:
        raise RenderFailed(f"size {recipe.width}x{recipe.height}: both sides must be multiples of {SIZE_STEP}")
    if recipe.steps < 1 or not math.isfinite(recipe.cfg):
        raise RenderFailed(f"steps must be at least 1 (got {recipe.steps}) and cfg a number (got {recipe.cfg})")
    if not 0 <= recipe.cfg_rescale <= 1:
        raise RenderFailed(f"cfg_rescale must lie between 0 and 1 (got {recipe.cfg_rescale})")
    if recipe.variation is not None and not 0 <= recipe.variation.strength <= 1:
        raise RenderFailed(f"variation.strength must lie between 0 and 1 (got {recipe.variation.strength})")
    if recipe.clip_skip is not None and recipe.clip_skip < 1:
        raise RenderFailed(f"clip_skip must be at least 1 (got {recipe.clip_skip})")
    if recipe.kind == "img2img" and (recipe.input is None or call.input_path is None):
        raise RenderFailed("img2img needs a source picture, and the recipe names none")
    if recipe.input is not None and not 0 <= recipe.input.denoise <= 1:
        raise RenderFailed(f"denoise must lie between 0 and 1 (got {recipe.input.denoise})")
    try:
        return resolve(recipe.sampler, recipe.schedule, recipe.steps)
    except UnknownSampler as error:
        raise RenderFailed(str(error)) from error


def _vae_file(call: Render, recipe: Recipe) -> str | None:
    if recipe.vae is not None and call.vae is None:
        raise RenderFailed(
            f"VAE {recipe.vae.name} has no file; it was found when the job was admitted, and is gone since"
        )
    return call.vae if recipe.vae is not None else None


def _with_vae_hash(recipe: Recipe, found: str | None) -> Recipe:
    if recipe.vae is None or found is None:
        return recipe
    _same("VAE", recipe.vae.name, recipe.vae.hash, found)
    return recipe.model_copy(update={"vae": recipe.vae.model_copy(update={"hash": found})})


def _wanted(call: Render, recipe: Recipe) -> list[WantedLora]:
    missing = [lora.name for lora in recipe.loras if lora.name not in call.loras]
    if missing:
        raise RenderFailed(f"LoRA {missing[0]} has no file; it was found when the job was admitted, and is gone since")
    return [
        WantedLora(lora.name, Path(call.loras[lora.name]), lora.weight, lora.text_weight, lora.blocks)
        for lora in recipe.loras
    ]


def _with_embeddings(call: Render, task: Task) -> Task:
    missing = [use.name for use in task.recipe.embeddings if use.name not in call.embeddings]
    if missing:
        raise RenderFailed(
            f"embedding {missing[0]} has no file; it was found when the job was admitted, and is gone since"
        )
    paths = {use.name: call.embeddings[use.name] for use in task.recipe.embeddings}
    allowed = task.session.settings.pickle_checkpoints
    embeddings = load_embeddings(paths, task.model.encoders.widths, pickle_allowed=allowed)
    for use in task.recipe.embeddings:
        _same("embedding", use.name, use.hash, embeddings.found[word_of(use.name)].hash)
    return replace(task, embeddings=embeddings)


def _conditioning(task: Task) -> Conditioning:
    conditioning = task.condition()
    conditioning.prepare(task.recipe.steps)
    return conditioning


def _denoised(call: Render, task: Task, conditioning: Conditioning, canvas: Canvas | None) -> torch.Tensor:
    wanted, chance = task.recipe.input, generator(task.recipe.seed)
    if canvas is not None and wanted is not None:
        return _inpainted(task, conditioning, canvas, wanted.denoise)
    unit = partial(noise, task.model, task.recipe.width, task.recipe.height, chance, task.recipe.variation)
    if task.recipe.kind == "txt2img" or wanted is None or call.input_path is None:
        return denoise.denoise(task, conditioning, denoise.Start(unit(), chance))
    picture = source_picture(Path(os.fsdecode(call.input_path)), wanted, task.recipe.width, task.recipe.height)
    source = encoded(task.model, picture, chance)
    return denoise.denoise(task, conditioning, denoise.Start(unit(), chance, source, wanted.denoise))


def _inpainted(task: Task, conditioning: Conditioning, canvas: Canvas, strength: float) -> torch.Tensor:
    chance = generator(task.recipe.seed)
    source = encoded(task.model, canvas.picture, chance)
    unit = partial(noise, task.model, *canvas.picture.size, chance, task.recipe.variation)
    mask = canvas.latent_mask(task)
    drawn, source = under_mask(task, source, mask, chance, unit)
    return denoise.denoise(task, conditioning, denoise.Start(drawn, chance, source, strength, mask))


def _completed(task: Task, lora_hashes: Mapping[str, str]) -> Recipe:
    """The recipe with everything that only the worker knows. Hashes that it states already must be the found ones."""
    recipe, model = task.recipe, task.model
    _same("checkpoint", recipe.model.name, recipe.model.hash, model.model_hash)
    for lora in recipe.loras:
        _same("LoRA", lora.name, lora.hash, lora_hashes[lora.name])
    return recipe.model_copy(
        update={
            "sampler": task.choice.sampler,
            "schedule": task.choice.schedule,
            "model": recipe.model.model_copy(update={"hash": model.model_hash}),
            "loras": tuple(lora.model_copy(update={"hash": lora_hashes[lora.name]}) for lora in recipe.loras),
            "dtype": model.dtype_name,
            "software": recipe.software or f"indexd {importlib.metadata.version('indexd')}",
        }
    )


def _same(what: str, name: str, stated: str | None, found: str) -> None:
    if stated is not None and stated != found:
        raise RenderFailed(
            f"{what} {name} is not the file that the recipe was made with: its hash is {found}, not {stated}; "
            "put the right file there, or take the hash out of the recipe"
        )


@contextmanager
def _stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Measures a stage, and says in which one a library gave up. What the pool handles passes through."""
    started = time.perf_counter()
    try:
        yield
    except IndexdError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        log.exception("%s failed", name)
        raise RenderFailed(f"{name} failed: {type(error).__name__}: {error}") from error
    finally:
        seconds[name] = time.perf_counter() - started
