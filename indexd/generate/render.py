"""The call `Render`: one recipe -> one image, in stages.

load, (control), loras, text, denoise, (latent stages) and decode make an image, or a finished one is opened; then the image
stages of the recipe run, the image is scored and saved. Inpaint works on a canvas, which is pasted back after decode.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import torch
from PIL import Image

from indexd.errors import IndexdError, RenderFailed
from indexd.generate.adapters.lora_adapters import BundledEmbeddings, LoraRequest
from indexd.generate.cancellation import cancellable
from indexd.generate.context import FILE_NOUNS, DenoiseTask, RenderContext, file_path
from indexd.generate.diffusion import denoise, vae_decode
from indexd.generate.diffusion.conditioning import TextConditioning
from indexd.generate.diffusion.guidance import ModelHook
from indexd.generate.diffusion.inpaint_canvas import InpaintCanvas, build_canvas, prepare_masked_latents
from indexd.generate.diffusion.latents import (
    draw_noise,
    load_fitted_source,
    load_source,
)
from indexd.generate.file_hashes import check_hash
from indexd.generate.model_lease import lease_model
from indexd.generate.output import scores
from indexd.generate.output.infotext_writer import format_infotext
from indexd.generate.pass_hooks import (
    hooks_for_pass,
    relative_box,
    with_full_size,
)
from indexd.generate.sampling.noise_source import has_torchsde
from indexd.generate.sampling.sampler_functions import SAMPLER_FUNCTIONS
from indexd.images.encode import ImageTexts, encode_image
from indexd.models.device import is_out_of_memory
from indexd.render_stages.stage import ImageStage, LatentStage, numbered_stages, stage_of
from indexd.worker.calls import Box, Render, Rendered
from indexd.worker.session import Deferred, RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKind, ModelRef, PassRecipe
from indexd_schemas.samplers import SamplerChoice, UnknownSampler, resolve_sampler

log = logging.getLogger(__name__)


def begin_render(call: Render, session: RenderSession) -> Deferred[Rendered]:
    """Render one image; what is left to do, encoding it, needs no model. `render` does both."""
    image, context, seconds = _render_and_score(call, session)

    def finish() -> Rendered:
        with _timed_stage("save", seconds):
            recipe = context.recipe
            texts = ImageTexts(format_infotext(recipe), json.dumps(recipe.model_dump(mode="json"), ensure_ascii=False))
            encoded = encode_image(image, texts, recipe.encoding)
        return Rendered(encoded, recipe, seconds, tuple(context.notes))

    return Deferred(finish)


def render(call: Render, session: RenderSession) -> Rendered:
    """Render and encode one image. The answered recipe is complete: rendering it again gives the same bytes on the same device.

    Raises RenderFailed (which stage, what was measured), OutOfMemory, ModelUnavailable (no checkpoint at the path) or
    CallCancelled (within one denoising step).
    """
    return begin_render(call, session).finish()


def _render_and_score(call: Render, session: RenderSession) -> tuple[Image.Image, RenderContext, dict[str, float]]:
    recipe = call.recipe
    try:
        choice = resolve_sampler(recipe.sampler, recipe.schedule)
    except UnknownSampler as error:
        raise RenderFailed(str(error)) from error
    seconds: dict[str, float] = {}
    session.poll()
    context = RenderContext(call, session, recipe)
    _settle_noise(context)
    image = _render_image(context, choice, seconds)
    if recipe.score:
        # Nothing holds the checkpoint any more, so that it can make room for clip_h.
        with _timed_stage(scores.STAGE, seconds):
            context.recipe = scores.score_image(context.recipe, image, session)
    software = recipe.software or f"indexd {importlib.metadata.version('indexd')}"
    context.recipe = context.recipe.model_copy(update={"software": software})
    return image, context, seconds


def _settle_noise(context: RenderContext) -> None:
    """Without torchsde SDE samplers get indexd's own path; a note and the recipe say so."""
    recipe = context.recipe
    named = [recipe.sampler, *(stage.sampler for stage in recipe.stages_of(PassRecipe) if stage.sampler is not None)]
    samplers = dict.fromkeys(resolve_sampler(name).sampler for name in named)
    by_sde = [name for name in samplers if SAMPLER_FUNCTIONS[name].uses_brownian_noise]
    noise = recipe.noise
    if not by_sde or noise is None or noise.source == "indexd" or noise.brownian == "indexd" or has_torchsde():
        return
    context.recipe = recipe.model_copy(update={"noise": noise.model_copy(update={"brownian": "indexd"})})
    context.notes.append(
        f"noise: {', '.join(by_sde)} got indexd's own noise instead of that of {noise.source}, because torchsde is not "
        "installed; run pip install 'indexd[torchsde]' and restart the daemon"
    )


def _render_image(context: RenderContext, choice: SamplerChoice, seconds: dict[str, float]) -> Image.Image:
    """The image after all stages that change it, with every model given back."""
    call, session, recipe = context.call, context.session, context.recipe
    with ExitStack() as leases:
        if recipe.model is not None:
            session.progress("load", 0, 1)
            with _timed_stage("load", seconds):
                checkpoint = str(file_path(call, "checkpoint", recipe.model.name))
                model = leases.enter_context(lease_model(session, checkpoint, recipe.dtype, recipe.family))
                if recipe.vae is not None:
                    vae = str(file_path(call, "vae", recipe.vae.name))
                    model, vae_hash = leases.enter_context(model.with_vae(session, vae))
                    recipe = recipe.model_copy(update={"vae": _with_hash("vae", recipe.vae, vae_hash)})
            leases.enter_context(cancellable(model.networks, session))
            task = DenoiseTask(recipe, choice, model, session)
            if recipe.control or recipe.reference:
                with _timed_stage("control", seconds):
                    task = leases.enter_context(model.with_image_conditioning(call, task))
            _attach_loras_and_embeddings(context, task, seconds)
        image = _run_first_pass(context, seconds)
        session.poll()
        image = _run_image_stages(context, image, seconds)
    context.task = None
    return image


def _attach_loras_and_embeddings(context: RenderContext, task: DenoiseTask, seconds: dict[str, float]) -> None:
    """Activate the LoRAs and load the embeddings of the recipe, and record the hashes of all its models."""
    with _timed_stage("loras", seconds):
        requests = [
            LoraRequest(
                lora.name, file_path(context.call, "lora", lora.name), lora.weight, lora.text_weight, lora.blocks
            )
            for lora in task.recipe.loras
        ]
        active = context.session.pool.run_with_eviction(partial(task.model.loras.activate, requests))
        context.notes += active.notes
        context.recipe = _complete_recipe(task, active.hashes)
        context.task = _with_embeddings(context.call, task, active.embeddings)
    context.session.poll()


def _run_first_pass(context: RenderContext, seconds: dict[str, float]) -> Image.Image:
    """The image as decoded, or the finished one that the recipe starts from."""
    run = context.session.pool.run_with_eviction
    recipe = context.recipe
    if recipe.starts_finished:
        assert recipe.input is not None  # the recipe's validator requires it
        with _timed_stage("open", seconds):
            return load_source(file_path(context.call, "image", recipe.input.hash), recipe.input)
    task, canvas = context.require_task(denoise.STAGE), None
    if recipe.kind == "inpaint":
        with _timed_stage("mask", seconds):
            canvas, context.recipe = build_canvas(context.call, recipe, context.session)
        context.task = task = with_full_size(task, canvas.source.size)
    with _timed_stage("text", seconds):
        conditioning = run(partial(_encode_prompts, task))
    context.session.poll()
    hooks: Sequence[ModelHook] = ()
    if task.image_conditioning is not None:
        with _timed_stage("control", seconds):
            hooks = run(partial(hooks_for_pass, task, *_first_pass_region(task, canvas)))
    with _timed_stage(denoise.STAGE, seconds):
        if canvas is None:
            latents = run(partial(_denoise_whole, context.call, task, conditioning, hooks))
        else:
            latents = run(partial(_denoise_inpaint, task, conditioning, hooks, canvas))
    latents = _run_latent_stages(context, latents, seconds)
    context.session.progress(vae_decode.STAGE, 0, 1)
    with _timed_stage(vae_decode.STAGE, seconds):
        image = run(partial(vae_decode.decode_latents, task.model, latents))
        return image if canvas is None else canvas.paste_into_source(image)


def _run_latent_stages(context: RenderContext, latents: torch.Tensor, seconds: dict[str, float]) -> torch.Tensor:
    for place, part in enumerate(context.recipe.stages):
        stage = stage_of(part)
        if isinstance(stage, LatentStage):
            with _timed_stage(stage.name, seconds):
                latents, part = context.session.pool.run_with_eviction(partial(stage.run, part, context, latents))
            context.record_stage(place, part)
    return latents


def _run_image_stages(context: RenderContext, image: Image.Image, seconds: dict[str, float]) -> Image.Image:
    for place, (part, number) in enumerate(numbered_stages(context.recipe.stages)):
        stage = stage_of(part)
        if isinstance(stage, ImageStage):
            context.session.progress(stage.name, 0, 1)
            with _timed_stage(stage.name, seconds):
                image, part = context.session.pool.run_with_eviction(partial(stage.run, part, context, image, number))
            context.record_stage(place, part)
            context.session.poll()
    return image


def _first_pass_region(task: DenoiseTask, canvas: InpaintCanvas | None) -> tuple[tuple[int, int], Box | None]:
    """The size of the first pass, and which part of the image it makes (None = all of it)."""
    if canvas is None:
        return (task.recipe.width, task.recipe.height), None
    return canvas.image.size, None if canvas.is_padded else relative_box(canvas.crop_box, canvas.source.size)


def _with_hash(kind: FileKind, model: ModelRef, found: str) -> ModelRef:
    """The model with the hash of its file. Raises RenderFailed where the recipe states another."""
    check_hash(FILE_NOUNS[kind], model.name, model.hash, found)
    return model.model_copy(update={"hash": found})


def _with_embeddings(call: Render, task: DenoiseTask, bundled: BundledEmbeddings) -> DenoiseTask:
    if not task.recipe.embeddings and not bundled:
        return task
    paths = {use.name: str(file_path(call, "embedding", use.name)) for use in task.recipe.embeddings}
    allowed = task.session.settings.pickle_checkpoints
    embeddings = task.model.load_embeddings(task.recipe.embeddings, paths, bundled=bundled, pickle_allowed=allowed)
    return replace(task, embeddings=embeddings)


def _encode_prompts(task: DenoiseTask) -> TextConditioning:
    conditioning = task.encode_prompts()
    conditioning.encode_ahead(task.recipe.steps)
    return conditioning


def _denoise_whole(
    call: Render, task: DenoiseTask, conditioning: TextConditioning, hooks: Sequence[ModelHook]
) -> torch.Tensor:
    recipe, numbers = task.recipe, task.noise_source()
    draw = partial(draw_noise, task.model, recipe.width, recipe.height, numbers, recipe.variation)
    if recipe.kind == "txt2img" or recipe.input is None:
        return denoise.denoise(task, conditioning, denoise.DenoiseStart(draw(), numbers), hooks=hooks)
    path = file_path(call, "image", recipe.input.hash)
    fitted = load_fitted_source(path, recipe.input, recipe.width, recipe.height)
    source = task.model.encode_image(fitted, numbers.encoding_rng)
    start = denoise.DenoiseStart(draw(), numbers, source, recipe.input.denoise, step_counting=recipe.step_counting)
    return denoise.denoise(task, conditioning, start, hooks=hooks)


def _denoise_inpaint(
    task: DenoiseTask, conditioning: TextConditioning, hooks: Sequence[ModelHook], canvas: InpaintCanvas
) -> torch.Tensor:
    assert task.recipe.input is not None
    numbers = task.noise_source()
    source = task.model.encode_image(canvas.image, numbers.encoding_rng)
    draw = partial(draw_noise, task.model, *canvas.image.size, numbers, task.recipe.variation)
    mask = canvas.latent_mask(task)
    noise, source = prepare_masked_latents(task, source, mask, numbers, draw)
    hooks = [*hooks, *task.model.mask_hooks(canvas.image, canvas.mask, mask)]
    denoise_share, counting = task.recipe.input.denoise, task.recipe.step_counting
    start = denoise.DenoiseStart(noise, numbers, source, denoise_share, mask, counting)
    return denoise.denoise(task, conditioning, start, hooks=hooks)


def _complete_recipe(task: DenoiseTask, lora_hashes: Mapping[str, str]) -> Recipe:
    """The recipe with the hashes of its models; raises RenderFailed where it states another hash."""
    recipe, model = task.recipe, task.model
    assert recipe.model is not None
    for lora in recipe.loras:
        check_hash("LoRA", lora.name, lora.hash, lora_hashes[lora.name])
    return recipe.model_copy(
        update={
            "sampler": task.choice.sampler,
            "schedule": task.choice.schedule,
            "model": _with_hash("checkpoint", recipe.model, model.model_hash),
            "loras": tuple(lora.model_copy(update={"hash": lora_hashes[lora.name]}) for lora in recipe.loras),
            "family": model.family,
            "dtype": model.dtype_name,
        }
    )


@contextmanager
def _timed_stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Measures a stage, and names it where a library raises. Errors of ours and out-of-memory pass unchanged."""
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
