"""The base of recipe records, and a model file by name."""

from __future__ import annotations

from pydantic import ConfigDict

from indexd_schemas.contract import Contract


class RecipePart(Contract):
    """Base of recipe records: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRef(RecipePart):
    """A model file by name; `hash` is the first ten hex digits of its SHA-256 (A1111's "Model hash"), filled in by the worker."""

    name: str
    hash: str | None = None
