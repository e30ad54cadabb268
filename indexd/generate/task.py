"""What every stage of one render is given."""

from __future__ import annotations

from dataclasses import dataclass

from indexd.generate.pipeline import Resident
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
