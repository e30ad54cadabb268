"""What the stages of one render share: the call, its files, the recipe so far, and the model it is denoised with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from indexd.errors import RenderFailed
from indexd.generate.diffusion.conditioning import TextConditioning
from indexd.generate.diffusion.guidance import ModelHook
from indexd.generate.family import PromptEmbeddings, RenderModel
from indexd.generate.file_hashes import check_hash
from indexd.generate.sampling.noise_source import NoiseSource, noise_source
from indexd.generate.sampling.sampler_functions import needs_negative
from indexd.models.model_identity import short_hash
from indexd.worker.calls import Box, Render
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey, FileKind, ModelRef, PassRecipe, StageRecipe
from indexd_schemas.samplers import SamplerChoice, resolve_sampler


class ImageConditioning(Protocol):
    """The controls and references of a render, in the form of the model's family."""

    def hooks(self, task: DenoiseTask, size: tuple[int, int], box: Box | None) -> tuple[ModelHook, ...]:
        """The hooks of one pass (see `pass_hooks.hooks_for_pass`)."""
        ...

    def with_full_size(self, size: tuple[int, int]) -> ImageConditioning:
        """The same for passes that render parts of an image of `size`."""
        ...


FILE_NOUNS: dict[FileKind, str] = {
    "checkpoint": "checkpoint",
    "vae": "VAE",
    "lora": "LoRA",
    "embedding": "embedding",
    "controlnet": "ControlNet",
    "ip_adapter": "IP-Adapter",
    "upscaler": "upscaler",
    "detector": "detector",
}


@dataclass(frozen=True, slots=True)
class DenoiseTask:
    """What a denoising pass reads: the recipe, the sampler, the model, and the session of the call."""

    recipe: Recipe
    choice: SamplerChoice
    model: RenderModel
    session: RenderSession
    embeddings: PromptEmbeddings | None = None
    image_conditioning: ImageConditioning | None = None

    def encode_prompts(self, prompt: str | None = None, negative: str | None = None) -> TextConditioning:
        """The text conditioning of the recipe's prompts, or of others read in the same way (a detail's, a tile's own)."""
        recipe = self.recipe
        return self.model.encode_prompts(
            recipe.prompt if prompt is None else prompt,
            recipe.negative_prompt if negative is None else negative,
            guided=recipe.cfg > 1 or needs_negative(self.choice),
            clip_skip=recipe.clip_skip,
            syntax=recipe.prompt_syntax,
            embeddings=self.embeddings,
        )

    def noise_source(self, seed: int | None = None) -> NoiseSource:
        """The random numbers of one pass; `seed` replaces the recipe's."""
        recipe = self.recipe
        return noise_source(recipe.noise, recipe.seed if seed is None else seed, self.model.levels)


@dataclass(slots=True)
class RenderContext:
    """One render on its way. `notes` become part of the result; `task` is None where the recipe has no model."""

    call: Render
    session: RenderSession
    recipe: Recipe
    task: DenoiseTask | None = None
    notes: list[str] = field(default_factory=list)

    def require_task(self, stage: str) -> DenoiseTask:
        """The task of a stage that denoises. Raises RenderFailed where the recipe has no model."""
        if self.task is None:
            raise RenderFailed(f"{stage}: the recipe names no checkpoint, and this stage needs one")
        return self.task

    def record_stage(self, place: int, part: StageRecipe) -> None:
        """Put a stage with what only the worker knows in its place in the recipe."""
        stages = self.recipe.stages
        self.recipe = self.recipe.model_copy(update={"stages": (*stages[:place], part, *stages[place + 1 :])})

    def note_smaller_tiles(self, stage: str, wanted: int, used: int) -> int | None:
        """The side of the tiles where memory allowed only smaller ones than wanted, with a note; else None."""
        if used == wanted:
            return None
        self.notes.append(f"{stage}: used tiles of {used} px: not enough GPU memory for {wanted} px")
        return used

    def verified_model_file(self, kind: FileKind, model: ModelRef) -> tuple[Path, ModelRef]:
        """The file of a model that a stage names, and the model with its hash.

        Raises RenderFailed where the file is gone, or is not the one that the recipe was made with.
        """
        path, noun = file_path(self.call, kind, model.name), FILE_NOUNS[kind]
        try:
            found = short_hash(path, self.session.settings.cache_folder)
        except FileNotFoundError:
            raise missing_file(f"{noun} {model.name}") from None
        except OSError as error:
            raise RenderFailed(f"{noun} {model.name} cannot be read: {error.strerror}") from error
        check_hash(noun, model.name, model.hash, found)
        return path, model.model_copy(update={"hash": found})


def file_path(call: Render, kind: FileKind, name: str) -> Path:
    """The path of a file that the recipe names. Raises RenderFailed where the call states none."""
    file = call.files.get(FileKey(kind, name))
    if file is None:
        what = call.recipe.images().get(name, "an image") if kind == "image" else f"{FILE_NOUNS[kind]} {name}"
        raise missing_file(what)
    return Path(os.fsdecode(file.path))


def missing_file(what: str) -> RenderFailed:
    """The error for a file that was there when the job was admitted."""
    return RenderFailed(f"{what} has no file; it was found when the job was admitted, and is gone since")


def with_pass_settings(task: DenoiseTask, pass_recipe: PassRecipe) -> DenoiseTask:
    """The task with the steps, cfg and sampler that a pass states."""
    own = {key: value for key in ("steps", "cfg") if (value := getattr(pass_recipe, key)) is not None}
    choice = task.choice
    if pass_recipe.sampler is not None:
        choice = resolve_sampler(pass_recipe.sampler, pass_recipe.schedule)
    return replace(task, recipe=task.recipe.model_copy(update=own), choice=choice)


def effective_steps(task: DenoiseTask, denoise: float) -> int:
    """How many steps a pass takes: none at denoise 0."""
    return task.recipe.steps if denoise > 0 else 0


def encode_pass_prompts(task: DenoiseTask, pass_recipe: PassRecipe, prompt: str | None = None) -> TextConditioning:
    """The text conditioning of a pass, encoded before the pass begins; `prompt` replaces the pass's own."""
    conditioning = task.encode_prompts(pass_recipe.prompt if prompt is None else prompt, pass_recipe.negative_prompt)
    conditioning.encode_ahead(max(1, effective_steps(task, pass_recipe.denoise)))
    return conditioning
