"""The base of every model of this package."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """What a model checks and writes with is built when it is first used: a start uses few of them.

    Needs pydantic 2.14: before that, threads that used a model for the first time at once could get in each other's way
    (pydantic issue 13419).
    """

    model_config = ConfigDict(defer_build=True)
