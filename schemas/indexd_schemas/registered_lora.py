"""An entry of the LoRA registry (`loras.yaml`): facts about a LoRA that its file does not state."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from indexd_schemas.contract import Contract

LoraType = Literal["character", "style", "detail", "background"]
RegistryText = Annotated[str, Field(min_length=1, max_length=400)]


class RegisteredLora(Contract):
    """One LoRA. Its key in the registry is the name of its file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    type: LoraType | None = Field(None, description="character, style, detail or background.", examples=["style"])
    min_weight: float = Field(-10.0, ge=-10, le=10, description="Lowest allowed weight.", examples=[0.3])
    max_weight: float = Field(10.0, ge=-10, le=10, description="Highest allowed weight.", examples=[1.0])
    weight: float | None = Field(
        None, ge=-10, le=10, description="Weight when a job gives none. Default: 1.", examples=[0.7]
    )
    triggers: list[RegistryText] = Field(
        default_factory=list,
        max_length=50,
        description="Trigger words. indexd adds missing ones before the prompt.",
        examples=[["ink style"]],
    )
    themes: list[RegistryText] = Field(
        default_factory=list,
        max_length=50,
        description="Themes it fits. indexd refuses jobs with other themes. Default: all.",
        examples=[["noir", "portrait"]],
    )
    excludes: list[RegistryText] = Field(
        default_factory=list, max_length=50, description="Themes it does not fit.", examples=[["anime"]]
    )
    stackable: bool = Field(True, description="Whether it can be combined with other LoRAs.", examples=[False])

    @model_validator(mode="after")
    def _range(self) -> RegisteredLora:
        if self.min_weight > self.max_weight:
            raise ValueError(f"min_weight {self.min_weight:g} is more than max_weight {self.max_weight:g}")
        if self.weight is not None and not self.min_weight <= self.weight <= self.max_weight:
            raise ValueError(
                f"weight {self.weight:g} is outside min_weight {self.min_weight:g} to max_weight {self.max_weight:g}"
            )
        return self
