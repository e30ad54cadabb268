"""What every stage of one render is given."""

from __future__ import annotations

from dataclasses import dataclass

from indexd.generate.embeddings import NO_EMBEDDINGS, Embeddings
from indexd.generate.pipeline import Resident
from indexd.generate.sampling.registry import asks_for_negative
from indexd.generate.text import Conditioning
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.samplers import Choice


@dataclass(frozen=True, slots=True)
class Task:
    """One picture in the making: what is asked, the model it is made with, and the call's surroundings."""

    recipe: Recipe
    choice: Choice
    model: Resident
    session: RenderSession
    embeddings: Embeddings = NO_EMBEDDINGS

    def condition(self, prompt: str | None = None, negative: str | None = None) -> Conditioning:
        """What the UNet is told: the recipe's texts, or others read in the same way (a detail's, a tile's own)."""
        recipe = self.recipe
        return self.model.encoders.condition(
            recipe.prompt if prompt is None else prompt,
            recipe.negative_prompt if negative is None else negative,
            guided=recipe.cfg > 1 or asks_for_negative(self.choice),
            clip_skip=recipe.clip_skip,
            adapters=self.model.loras.active_in_text(),
            syntax=recipe.prompt_syntax,
            embeddings=self.embeddings,
        )
