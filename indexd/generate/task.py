"""What every stage of one render is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexd.errors import RenderFailed
from indexd.generate.embeddings import NO_TEXTUAL_INVERSIONS, TextualInversions
from indexd.generate.pipeline import ResidentPipeline
from indexd.generate.sampling.registry import needs_negative
from indexd.generate.text import TextConditioning
from indexd.worker.session import RenderSession
from indexd_schemas.recipe import Recipe
from indexd_schemas.samplers import SamplerChoice

if TYPE_CHECKING:
    from indexd.generate.guides import ImageConditioning


@dataclass(frozen=True, slots=True)
class DenoiseTask:
    """One picture in the making: what is asked, the model it is made with, and the call's surroundings."""

    recipe: Recipe
    choice: SamplerChoice
    model: ResidentPipeline
    session: RenderSession
    embeddings: TextualInversions = NO_TEXTUAL_INVERSIONS
    image_conditioning: ImageConditioning | None = None

    def encode_prompts(self, prompt: str | None = None, negative: str | None = None) -> TextConditioning:
        """What the UNet is told: the recipe's texts, or others read in the same way (a detail's, a tile's own)."""
        recipe = self.recipe
        return self.model.encoders.build_conditioning(
            recipe.prompt if prompt is None else prompt,
            recipe.negative_prompt if negative is None else negative,
            guided=recipe.cfg > 1 or needs_negative(self.choice),
            clip_skip=recipe.clip_skip,
            adapters=self.model.loras.active_text_weights(),
            syntax=recipe.prompt_syntax,
            embeddings=self.embeddings,
        )


def check_hash(what: str, name: str, stated: str | None, found: str) -> None:
    """Raises RenderFailed where a recipe states another hash of a file than is found now."""
    if stated is not None and stated != found:
        raise RenderFailed(
            f"{what} {name} is not the file that the recipe was made with: its hash is {found}, not {stated}; "
            "put the right file there, or take the hash out of the recipe"
        )
