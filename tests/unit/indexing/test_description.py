"""The table of layers, and which stages a picture needs."""

from __future__ import annotations

import pytest

from indexd.image_metadata.model import ImageFacts, ImageMetadata
from indexd.indexing.stages import LAYERS, stages_for
from indexd.indexing.stages.registry import all_stages
from indexd.model_roles import ALL_ROLES


def facts(prompt: str | None, negative: str | None) -> ImageFacts:
    return ImageFacts(b"h" * 32, 1, "PNG", 8, 8, 1, ImageMetadata(prompt=prompt, negative_prompt=negative))


@pytest.mark.parametrize(
    ("prompt", "negative", "stages"),
    [
        ("a fox", "blurry", ("thumbnail", "clip_h", "face", "bge_prompt", "bge_negative", "clip_l", "clip_g")),
        ("a fox", None, ("thumbnail", "clip_h", "face", "bge_prompt", "clip_l", "clip_g")),
        (" \n", "", ("thumbnail", "clip_h", "face")),
        (None, None, ("thumbnail", "clip_h", "face")),
    ],
)
def test_a_picture_needs_what_it_has_something_for(
    prompt: str | None, negative: str | None, stages: tuple[str, ...]
) -> None:
    assert stages_for(facts(prompt, negative), {"face"}) == stages


def test_nobody_waits_for_faces_without_a_detector() -> None:
    assert "face" not in stages_for(facts("a fox", "blurry"), ())


def test_every_layer_has_a_role_of_the_settings_and_its_own_stage() -> None:
    assert {layer.role for layer in LAYERS.values()} == set(ALL_ROLES) - {"generator"}
    assert [stage.name for stage in all_stages()] == ["replacement", "thumbnail", *LAYERS]
