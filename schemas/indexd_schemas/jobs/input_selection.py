"""Which pictures a job starts from: a file, several, a folder, what a query finds, or a character.

Adding a way of choosing = a key of `Selection`, its name in WAYS, and a function in indexd/jobs/admission/input_selection.py.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from indexd_schemas.api.characters import CharacterSelector, SampleStrategy
from indexd_schemas.api.requests import SortOrder
from indexd_schemas.jobs.job_part import JobPart
from indexd_schemas.jobs.shorthand import TEXT_SCHEMA, Shorthand

SELECTION_METHODS = ("files", "folder", "query", "similar", "character")
MAX_FILES = 10_000

InputPathText = Annotated[str, Field(min_length=1, max_length=4000)]


class InputSelection(JobPart):
    """The pictures to start from, fixed when the job is accepted; a bare text is one file, a list several."""

    files: list[InputPathText] | None = Field(
        None,
        min_length=1,
        max_length=MAX_FILES,
        description="Pictures by path (relative to the inbox, or absolute), by id (`#12`) or by content hash.",
        examples=[["a.png", "#12"]],
    )
    folder: str | None = Field(
        None, min_length=1, max_length=4000, description="All pictures of a folder, by name.", examples=["sketches"]
    )
    recursive: bool = Field(False, description="With `folder`: those in the folders below it too.", examples=[True])
    query: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="What a query finds, in the filters of `indexd query`; with `similar` or `character` it says which may appear.",
        examples=["rating:5 model:pony"],
    )
    similar: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="What looks like this picture (path, `#12` or content hash), the most similar first.",
        examples=["#12"],
    )
    character: CharacterSelector | None = Field(
        None, description="Pictures of a character, by name or number.", examples=["Luna"]
    )
    sample: SampleStrategy | None = Field(
        None,
        description="With `character`: which of its pictures (random, diverse, best, typical); left out = diverse.",
        examples=["diverse"],
    )
    sort: SortOrder | None = Field(
        None, description="Order of what a query finds; left out = newest first.", examples=["rating"]
    )
    count: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="The first so many; left out = all of them (of similar ones and of a character 20).",
        examples=[20],
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"files": [value]}
        if isinstance(value, list):
            if not value or not all(isinstance(one, str) and one for one in value):
                raise ValueError("must be a list of at least one path")
            return {"files": value}
        if not isinstance(value, dict):
            raise ValueError(
                "must be a path, a list of paths, or {folder: …}, {query: …}, {similar: …} or {character: …}"
            )
        return value

    @model_validator(mode="after")
    def _one_method(self) -> InputSelection:
        if self.method is None:
            raise ValueError(f"must say which pictures: {', '.join(f'`{way}`' for way in SELECTION_METHODS)}")
        given = [way for way in SELECTION_METHODS if getattr(self, way) is not None]
        if len(given) > 1 and given not in (["query", "similar"], ["query", "character"]):
            raise ValueError(f"`{given[0]}` and `{given[1]}` do not go together; keep one")
        if self.recursive and self.folder is None:
            raise ValueError("`recursive` goes with `folder`")
        if self.sample is not None and self.character is None:
            raise ValueError("`sample` goes with `character`")
        if self.sort is not None and self.method != "query":
            raise ValueError("`sort` goes with `query`")
        if self.sort == "score":
            raise ValueError("`sort: score` is the order of `similar`, which needs none; use newest, oldest or rating")
        return self

    @property
    def method(self) -> str | None:
        """The key that says which pictures; `query` only where it stands alone."""
        return next((way for way in reversed(SELECTION_METHODS) if getattr(self, way) is not None), None)


Input = Annotated[
    InputSelection,
    Shorthand(
        InputSelection, TEXT_SCHEMA, {"type": "array", "items": TEXT_SCHEMA, "minItems": 1, "maxItems": MAX_FILES}
    ),
]
