"""The mask of an `inpaint` job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from indexd_schemas.jobs.job_part import JobPart
from indexd_schemas.jobs.shorthand import TEXT_SCHEMA, Shorthand

UnitFraction = Annotated[float, Field(ge=0, le=1)]


class Mask(JobPart):
    """The part to render again: a mask file (white), a detected region, or a box.

    A bare text is a mask file.
    """

    file: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="A mask image: white is rendered, black stays. It needs the input's aspect ratio; indexd scales it.",
        examples=["mask.png"],
    )
    region: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="A kind of region (face, hand, …), as listed by `indexd show` or found by the detectors.",
        examples=["face"],
    )
    index: int = Field(1, ge=1, le=1000, description="Which region of the kind: 1 is the largest.", examples=[2])
    box: list[UnitFraction] | None = Field(
        None,
        min_length=4,
        max_length=4,
        description="A box: left, top, width and height as shares of the image, 0 to 1.",
        examples=[[0.25, 0.1, 0.5, 0.4]],
    )
    padding: float = Field(
        0.1,
        ge=0,
        le=2,
        description="Margin around a region or box, as a share of its longer side.",
        examples=[0.2],
    )
    invert: bool = Field(False, description="Invert the mask.", examples=[True])

    @model_validator(mode="before")
    @classmethod
    def _bare_file(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_method(self) -> Mask:
        given = [way for way in ("file", "region", "box") if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError("must be one of `file`, `region` and `box`")
        if self.box is not None and (self.box[2] <= 0 or self.box[3] <= 0):
            raise ValueError("`box` must have a width and a height above 0")
        return self


MaskField = Annotated[Mask, Shorthand(Mask, TEXT_SCHEMA)]
MaskedContent = Literal["original", "noise", "fill"]
