"""Base class of all models in this package."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """Builds its validator and serializer on first use, because a start uses few models.

    Needs pydantic 2.14: in earlier versions, threads that use a model for the first time at once can interfere (pydantic issue
    13419).
    """

    model_config = ConfigDict(defer_build=True)
