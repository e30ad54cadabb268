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
from indexd.generate.adapters.image_conditioning import (
    attach_image_conditioning,
    hooks_for_pass,
    relative_box,
    with_full_size,
)
from indexd.generate.adapters.lora_adapters import LoraRequest
from indexd.generate.context import DenoiseTask, RenderContext, check_hash
from indexd.generate.diffusion import denoise, vae_decode
from indexd.generate.diffusion.guidance import UnetHook
from indexd.generate.diffusion.inpaint_canvas import InpaintCanvas, build_canvas, prepare_masked_latents
from indexd.generate.diffusion.latents import (
    draw_noise,
    encode_image,
    load_fitted_source,
    load_source,
    seeded_generator,
)
from indexd.generate.output import scores
from indexd.generate.output.png_writer import encode_png
from indexd.generate.sdxl.pipeline import lease_pipeline
from indexd.generate.sdxl.text_encoding import TextConditioning
from indexd.generate.sdxl.textual_inversion import load_textual_inversions, prompt_word
from indexd.generate.sdxl.vae import with_vae
from indexd.generate.stages import hires
from indexd.generate.stages.post_stages import enabled_stages
from indexd.models.device import is_out_of_memory
from indexd.worker.calls import Box, Render, Rendered
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.samplers import SamplerChoice, UnknownSampler, resolve_sampler

log = logging.getLogger(__name__)

SIZE_STEP_PX = 8
FINISHED_IMAGE_KINDS = ("upscale", "refine")
"""The kinds that start from a finished picture, with no pass of their own before the stages."""


def render(call: Render, session: RenderSession) -> Rendered:
    """Make one picture. The answered recipe is complete: rendering it again gives the same bytes on the same device.

    Raises RenderFailed (which stage, what was measured), OutOfMemory, ModelOff (no checkpoint at the path) or
    CallCancelled (within one denoising step).
    """
    recipe = Recipe.model_validate(call.recipe)
    choice = _validated_choice(recipe, call)
    seconds: dict[str, float] = {}
    session.poll()
    work = RenderContext(call, session, recipe)
    picture = _render_image(work, choice, seconds)
    if recipe.score:
        # Nothing holds the checkpoint any more, so that it can make room for clip_h.
        with _timed_stage(scores.STAGE, seconds):
            work.recipe = scores.score_image(work.recipe, picture, session)
    with _timed_stage("save", seconds):
        work.update_recipe(software=work.recipe.software or f"indexd {importlib.metadata.version('indexd')}")
        png = encode_png(picture, work.recipe)
    return Rendered(png, work.recipe.model_dump(mode="json"), seconds, tuple(work.notes))


def _render_image(context: RenderContext, choice: SamplerChoice, seconds: dict[str, float]) -> Image.Image:
    """The picture after all stages that change it, with every model given back."""
    call, session, recipe = context.call, context.session, context.recipe
    with ExitStack() as leases:
        if recipe.model is not None:
            session.progress("load", 0, 1)
            with _timed_stage("load", seconds):
                model = leases.enter_context(lease_pipeline(session, call.checkpoint, recipe.dtype))
                model, vae_hash = leases.enter_context(with_vae(session, model, _vae_file(call, recipe)))
            task = DenoiseTask(_with_vae_hash(recipe, vae_hash), choice, model, session)
            if recipe.control or recipe.reference:
                with _timed_stage("control", seconds):
                    task = leases.enter_context(attach_image_conditioning(call, task))
            _attach_loras_and_embeddings(context, task, seconds)
        picture = _run_first_pass(context, seconds)
        session.poll()
        picture = _apply_post_stages(context, picture, seconds)
    context.task = None
    return picture


def _attach_loras_and_embeddings(context: RenderContext, task: DenoiseTask, seconds: dict[str, float]) -> None:
    """The model with the LoRAs and embeddings of the recipe, which from here on is complete in them."""
    with _timed_stage("loras", seconds):
        hashes = context.session.pool.run_with_eviction(
            partial(task.model.loras.activate, _lora_requests(context.call, task.recipe))
        )
        context.recipe = _complete_recipe(task, hashes)
        context.task = _with_embeddings(context.call, task)
    context.session.poll()


def _run_first_pass(context: RenderContext, seconds: dict[str, float]) -> Image.Image:
    """The picture as decoded, or the finished one that the recipe starts from."""
    room = context.session.pool.run_with_eviction
    if context.recipe.kind in FINISHED_IMAGE_KINDS:
        with _timed_stage("open", seconds):
            return _load_finished_image(context)
    task, canvas = context.require_task(denoise.STAGE), None
    if context.recipe.kind == "inpaint":
        with _timed_stage("mask", seconds):
            canvas, complete = build_canvas(context.call, context.recipe, context.session)
        context.recipe = complete
        context.task = task = with_full_size(task, canvas.source.size)
    with _timed_stage("text", seconds):
        conditioning = room(partial(_encode_prompts, task))
    context.session.poll()
    influences: Sequence[UnetHook] = ()
    if task.image_conditioning is not None:
        with _timed_stage("control", seconds):
            influences = room(partial(hooks_for_pass, task, *_first_pass_region(task, canvas)))
    with _timed_stage(denoise.STAGE, seconds):
        if canvas is None:
            latents = room(partial(_denoise_whole, context.call, task, conditioning, influences))
        else:
            latents = room(partial(_denoise_inpaint, task, conditioning, influences, canvas))
    if context.recipe.hires is not None:
        with _timed_stage(hires.STAGE, seconds):
            latents = room(partial(hires.hires, context, latents))
    context.session.progress(vae_decode.STAGE, 0, 1)
    with _timed_stage(vae_decode.STAGE, seconds):
        picture = room(partial(vae_decode.decode_latents, task.model, latents))
        return picture if canvas is None else canvas.paste_into_source(picture)


def _first_pass_region(task: DenoiseTask, canvas: InpaintCanvas | None) -> tuple[tuple[int, int], Box | None]:
    """The size of the first pass, and which part of the picture it makes (None = all of it)."""
    if canvas is None:
        return (task.recipe.width, task.recipe.height), None
    return canvas.image.size, None if canvas.is_padded else relative_box(canvas.crop_box, canvas.source.size)


def _apply_post_stages(context: RenderContext, image: Image.Image, seconds: dict[str, float]) -> Image.Image:
    """The picture after the stages that the recipe turns on."""
    for name, stage in enabled_stages(context.recipe):
        context.session.progress(name, 0, 1)
        with _timed_stage(name, seconds):
            image = context.session.pool.run_with_eviction(partial(stage, context, image))
        context.session.poll()
    return image


def _load_finished_image(context: RenderContext) -> Image.Image:
    assert context.recipe.input is not None
    assert context.call.input_path is not None
    return load_source(Path(os.fsdecode(context.call.input_path)), context.recipe.input)


def _validated_choice(recipe: Recipe, call: Render) -> SamplerChoice:
    """The sampler by its canonical name. Raises RenderFailed for what the row of stages cannot carry out."""
    # Inpaint continues a picture of any size up to the next multiple, and cuts it again.
    any_size = recipe.kind in FINISHED_IMAGE_KINDS or (recipe.mask is not None and not recipe.mask.only_masked)
    step = 1 if any_size else SIZE_STEP_PX
    smallest = 1 if recipe.kind in FINISHED_IMAGE_KINDS else SIZE_STEP_PX
    if min(recipe.width, recipe.height) < smallest or recipe.width % step or recipe.height % step:
        raise RenderFailed(f"size {recipe.width}x{recipe.height}: both sides must be multiples of {SIZE_STEP_PX}")
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
        return resolve_sampler(recipe.sampler, recipe.schedule, recipe.steps)
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
    check_hash("VAE", recipe.vae.name, recipe.vae.hash, found)
    return recipe.model_copy(update={"vae": recipe.vae.model_copy(update={"hash": found})})


def _lora_requests(call: Render, recipe: Recipe) -> list[LoraRequest]:
    missing = [lora.name for lora in recipe.loras if lora.name not in call.loras]
    if missing:
        raise RenderFailed(f"LoRA {missing[0]} has no file; it was found when the job was admitted, and is gone since")
    return [
        LoraRequest(lora.name, Path(call.loras[lora.name]), lora.weight, lora.text_weight, lora.blocks)
        for lora in recipe.loras
    ]


def _with_embeddings(call: Render, task: DenoiseTask) -> DenoiseTask:
    missing = [use.name for use in task.recipe.embeddings if use.name not in call.embeddings]
    if missing:
        raise RenderFailed(
            f"embedding {missing[0]} has no file; it was found when the job was admitted, and is gone since"
        )
    paths = {use.name: call.embeddings[use.name] for use in task.recipe.embeddings}
    allowed = task.session.settings.pickle_checkpoints
    embeddings = load_textual_inversions(paths, task.model.encoders.widths, pickle_allowed=allowed)
    for use in task.recipe.embeddings:
        check_hash("embedding", use.name, use.hash, embeddings.by_word[prompt_word(use.name)].hash)
    return replace(task, embeddings=embeddings)


def _encode_prompts(task: DenoiseTask) -> TextConditioning:
    conditioning = task.encode_prompts()
    conditioning.encode_ahead(task.recipe.steps)
    return conditioning


def _denoise_whole(
    call: Render, task: DenoiseTask, conditioning: TextConditioning, hooks: Sequence[UnetHook]
) -> torch.Tensor:
    wanted, chance = task.recipe.input, seeded_generator(task.recipe.seed)
    unit = partial(draw_noise, task.model, task.recipe.width, task.recipe.height, chance, task.recipe.variation)
    if task.recipe.kind == "txt2img" or wanted is None or call.input_path is None:
        return denoise.denoise(task, conditioning, denoise.DenoiseStart(unit(), chance), hooks=hooks)
    picture = load_fitted_source(Path(os.fsdecode(call.input_path)), wanted, task.recipe.width, task.recipe.height)
    source = encode_image(task.model, picture, chance)
    start = denoise.DenoiseStart(unit(), chance, source, wanted.denoise)
    return denoise.denoise(task, conditioning, start, hooks=hooks)


def _denoise_inpaint(
    task: DenoiseTask, conditioning: TextConditioning, hooks: Sequence[UnetHook], canvas: InpaintCanvas
) -> torch.Tensor:
    assert task.recipe.input is not None
    chance = seeded_generator(task.recipe.seed)
    source = encode_image(task.model, canvas.image, chance)
    unit = partial(draw_noise, task.model, *canvas.image.size, chance, task.recipe.variation)
    mask = canvas.latent_mask(task)
    drawn, source = prepare_masked_latents(task, source, mask, chance, unit)
    start = denoise.DenoiseStart(drawn, chance, source, task.recipe.input.denoise, mask)
    return denoise.denoise(task, conditioning, start, hooks=hooks)


def _complete_recipe(task: DenoiseTask, lora_hashes: Mapping[str, str]) -> Recipe:
    """The recipe with everything that only the worker knows. Hashes that it states already must be the found ones."""
    recipe, model = task.recipe, task.model
    assert recipe.model is not None
    check_hash("checkpoint", recipe.model.name, recipe.model.hash, model.model_hash)
    for lora in recipe.loras:
        check_hash("LoRA", lora.name, lora.hash, lora_hashes[lora.name])
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
def _timed_stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
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
