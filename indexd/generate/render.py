"""The call `Render`: one recipe -> one picture, as a row of stages.

load, (control), loras, text, denoise, (hires), decode make a picture, or a finished one is opened; then come those of stages/row.py
that the recipe turns on, its scores, and save. Inpaint works on a canvas of its own, which is put back behind decode.
"""

from __future__ import annotations

import importlib.metadata
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from indexd.errors import IndexdError, RenderFailed
from indexd.generate import decode, denoise, score
from indexd.generate.embeddings import load_embeddings, word_of
from indexd.generate.guidance import Influence
from indexd.generate.guides import guided, influences_for, of_whole, share_of
from indexd.generate.inpaint import Canvas, canvas_of, under_mask
from indexd.generate.latents import encoded, generator, noise, source_picture, whole_picture
from indexd.generate.loras import WantedLora
from indexd.generate.picture import png_bytes
from indexd.generate.pipeline import resident
from indexd.generate.stages import hires
from indexd.generate.stages.row import stages_on
from indexd.generate.stages.work import Work
from indexd.generate.task import Task, same
from indexd.generate.text import Conditioning
from indexd.generate.vae import with_vae
from indexd.models.device import is_out_of_memory
from indexd.worker.calls import Box, Render, Rendered
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.samplers import Choice, UnknownSampler, resolve

log = logging.getLogger(__name__)

SIZE_STEP = 8
FINISHED = ("upscale", "refine")
"""The kinds that start from a finished picture, with no pass of their own before the stages."""


def render(call: Render, session: RenderSession) -> Rendered:
    """Make one picture. The answered recipe is complete: rendering it again gives the same bytes on the same device.

    Raises RenderFailed (which stage, what was measured), OutOfMemory, ModelOff (no checkpoint at the path) or
    CallCancelled (within one denoising step).
    """
    recipe = Recipe.model_validate(call.recipe)
    choice = _checked(recipe, call)
    seconds: dict[str, float] = {}
    session.between_steps()
    work = Work(call, session, recipe)
    picture = _whole(work, choice, seconds)
    if recipe.score:
        # Nothing holds the checkpoint any more, so that it can make room for clip_h.
        with _stage(score.STAGE, seconds):
            work.recipe = score.scored(work.recipe, picture, session)
    with _stage("save", seconds):
        work.know(software=work.recipe.software or f"indexd {importlib.metadata.version('indexd')}")
        png = png_bytes(picture, work.recipe)
    return Rendered(png, work.recipe.model_dump(mode="json"), seconds, tuple(work.notes))


def _whole(work: Work, choice: Choice, seconds: dict[str, float]) -> Image.Image:
    """The picture after all stages that change it, with every model given back."""
    call, session, recipe = work.call, work.session, work.recipe
    with ExitStack() as leases:
        if recipe.model is not None:
            session.progress("load", 0, 1)
            with _stage("load", seconds):
                model = leases.enter_context(resident(session, call.checkpoint, recipe.dtype))
                model, vae_hash = leases.enter_context(with_vae(session, model, _vae_file(call, recipe)))
            task = Task(_with_vae_hash(recipe, vae_hash), choice, model, session)
            if recipe.control or recipe.reference:
                with _stage("control", seconds):
                    task = leases.enter_context(guided(call, task))
            _dress(work, task, seconds)
        picture = _made(work, seconds)
        session.between_steps()
        picture = _finished(work, picture, seconds)
    work.task = None
    return picture


def _dress(work: Work, task: Task, seconds: dict[str, float]) -> None:
    """The model with the LoRAs and embeddings of the recipe, which from here on is complete in them."""
    with _stage("loras", seconds):
        hashes = work.session.pool.with_room(partial(task.model.loras.activate, _wanted(work.call, task.recipe)))
        work.recipe = _completed(task, hashes)
        work.task = _with_embeddings(work.call, task)
    work.session.between_steps()


def _made(work: Work, seconds: dict[str, float]) -> Image.Image:
    """The picture as decoded, or the finished one that the recipe starts from."""
    room = work.session.pool.with_room
    if work.recipe.kind in FINISHED:
        with _stage("open", seconds):
            return _opened(work)
    task, canvas = work.model(denoise.STAGE), None
    if work.recipe.kind == "inpaint":
        with _stage("mask", seconds):
            canvas, complete = canvas_of(work.call, work.recipe, work.session)
        work.recipe = complete
        work.task = task = of_whole(task, canvas.whole.size)
    with _stage("text", seconds):
        conditioning = room(partial(_conditioning, task))
    work.session.between_steps()
    influences: Sequence[Influence] = ()
    if task.guides is not None:
        with _stage("control", seconds):
            influences = room(partial(influences_for, task, *_pass(task, canvas)))
    with _stage(denoise.STAGE, seconds):
        if canvas is None:
            latents = room(partial(_denoised, work.call, task, conditioning, influences))
        else:
            latents = room(partial(_inpainted, task, conditioning, influences, canvas))
    if work.recipe.hires is not None:
        with _stage(hires.STAGE, seconds):
            latents = room(partial(hires.hires, work, latents))
    work.session.progress(decode.STAGE, 0, 1)
    with _stage(decode.STAGE, seconds):
        picture = room(partial(decode.pixels, task.model, latents))
        return picture if canvas is None else canvas.put_back(picture)


def _pass(task: Task, canvas: Canvas | None) -> tuple[tuple[int, int], Box | None]:
    """The size of the first pass, and which part of the picture it makes (None = all of it)."""
    if canvas is None:
        return (task.recipe.width, task.recipe.height), None
    return canvas.picture.size, None if canvas.padded else share_of(canvas.part, canvas.whole.size)


def _finished(work: Work, picture: Image.Image, seconds: dict[str, float]) -> Image.Image:
    """The picture after the stages that the recipe turns on."""
    for name, stage in stages_on(work.recipe):
        work.session.progress(name, 0, 1)
        with _stage(name, seconds):
            picture = work.session.pool.with_room(partial(stage, work, picture))
        work.session.between_steps()
    return picture


def _opened(work: Work) -> Image.Image:
    assert work.recipe.input is not None
    assert work.call.input_path is not None
    return whole_picture(Path(os.fsdecode(work.call.input_path)), work.recipe.input)


def _checked(recipe: Recipe, call: Render) -> Choice:
    """The sampler by its canonical name. Raises RenderFailed for what the row of stages cannot carry out."""
    # Inpaint continues a picture of any size up to the next multiple, and cuts it again.
    any_size = recipe.kind in FINISHED or (recipe.mask is not None and not recipe.mask.only_masked)
    step = 1 if any_size else SIZE_STEP
    smallest = 1 if recipe.kind in FINISHED else SIZE_STEP
    if min(recipe.width, recipe.height) < smallest or recipe.width % step or recipe.height % step:
        raise RenderFailed(f"size {recipe.width}x{recipe.height}: both sides must be multiples of {SIZE_STEP}")
    if recipe.steps < 1 or not math.isfinite(recipe.cfg):
        raise RenderFailed(f"steps must be at least 1 (got {recipe.steps}) and cfg a number (got {recipe.cfg})")
    if not 0 <= recipe.cfg_rescale <= 1:
        raise RenderFailed(f"cfg_rescale must lie between 0 and 1 (got {recipe.cfg_rescale})")
    if recipe.variation is not None and not 0 <= recipe.variation.strength <= 1:
        raise RenderFailed(f"variation.strength must lie between 0 and 1 (got {recipe.variation.strength})")
    if recipe.clip_skip is not None and recipe.clip_skip < 1:
        raise RenderFailed(f"clip_skip must be at least 1 (got {recipe.clip_skip})")
    if recipe.kind != "txt2img" and (recipe.input is None or call.input_path is None):
        raise RenderFailed(f"{recipe.kind} needs a source picture, and the recipe names none")
    if recipe.kind == "inpaint" and recipe.hires is not None:
        raise RenderFailed("hires: inpaint keeps what lies around its mask, and its latents cannot grow")
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
    same("VAE", recipe.vae.name, recipe.vae.hash, found)
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
        same("embedding", use.name, use.hash, embeddings.found[word_of(use.name)].hash)
    return replace(task, embeddings=embeddings)


def _conditioning(task: Task) -> Conditioning:
    conditioning = task.condition()
    conditioning.prepare(task.recipe.steps)
    return conditioning


def _denoised(call: Render, task: Task, conditioning: Conditioning, influences: Sequence[Influence]) -> torch.Tensor:
    wanted, chance = task.recipe.input, generator(task.recipe.seed)
    unit = partial(noise, task.model, task.recipe.width, task.recipe.height, chance, task.recipe.variation)
    if task.recipe.kind == "txt2img" or wanted is None or call.input_path is None:
        return denoise.denoise(task, conditioning, denoise.Start(unit(), chance), influences=influences)
    picture = source_picture(Path(os.fsdecode(call.input_path)), wanted, task.recipe.width, task.recipe.height)
    source = encoded(task.model, picture, chance)
    start = denoise.Start(unit(), chance, source, wanted.denoise)
    return denoise.denoise(task, conditioning, start, influences=influences)


def _inpainted(task: Task, conditioning: Conditioning, influences: Sequence[Influence], canvas: Canvas) -> torch.Tensor:
    assert task.recipe.input is not None
    chance = generator(task.recipe.seed)
    source = encoded(task.model, canvas.picture, chance)
    unit = partial(noise, task.model, *canvas.picture.size, chance, task.recipe.variation)
    mask = canvas.latent_mask(task)
    drawn, source = under_mask(task, source, mask, chance, unit)
    start = denoise.Start(drawn, chance, source, task.recipe.input.denoise, mask)
    return denoise.denoise(task, conditioning, start, influences=influences)


def _completed(task: Task, lora_hashes: Mapping[str, str]) -> Recipe:
    """The recipe with everything that only the worker knows. Hashes that it states already must be the found ones."""
    recipe, model = task.recipe, task.model
    assert recipe.model is not None
    same("checkpoint", recipe.model.name, recipe.model.hash, model.model_hash)
    for lora in recipe.loras:
        same("LoRA", lora.name, lora.hash, lora_hashes[lora.name])
    return recipe.model_copy(
        update={
            "sampler": task.choice.sampler,
            "schedule": task.choice.schedule,
            "model": recipe.model.model_copy(update={"hash": model.model_hash}),
            "loras": tuple(lora.model_copy(update={"hash": lora_hashes[lora.name]}) for lora in recipe.loras),
            "dtype": model.dtype_name,
        }
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
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
