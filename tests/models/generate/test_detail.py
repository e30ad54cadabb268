"""Details: only what was found changes, in the order of the detectors, and nothing where nothing is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexd.errors import RenderFailed
from indexd.generate.stages.detail import detail_region, latent_mask
from indexd.models.detector import Detection, RegionDetector
from indexd_schemas.jobs.stages import DetailRecipe
from tests.models.generate.conftest import recipe_data
from tests.models.resident.tiny_detector import write_detector

BOX = (0.25, 0.375, 0.25, 0.25)
"""In 128x128: 32..64 across, 48..80 down."""


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("eyes"), ("face", "hand"), ("face",))


def stage(eyes: Path, **fields: Any) -> dict[str, Any]:
    plain = {"detector": {"name": eyes.stem}, "confidence": 0.4, "max": 10, "denoise": 0.75, "padding": 0.5}
    return plain | {"size": 64, "feather": 0.125} | fields


@pytest.fixture
def one_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector is real, but what it sees is known."""
    seen = [Detection("face", "eyes/1", BOX, 0.9, 32)]
    monkeypatch.setattr(RegionDetector, "detect", lambda self, pictures: [seen for _ in pictures])


def test_only_the_found_region_changes(studio: Any, look: Any, eyes: Path, one_box: None) -> None:
    files = {eyes.stem: str(eyes)}
    plain = look(studio(width=128, height=128))
    made = studio(width=128, height=128, detail=[stage(eyes)], detectors=files)
    changed = np.any(look(made) != plain, axis=2)
    rim = 4  # 0.125 of 32 pixels
    inside = np.zeros_like(changed)
    inside[48 - rim : 80 + rim, 32 - rim : 64 + rim] = True
    assert not changed[~inside].any()
    assert changed[48:80, 32:64].mean() > 0.9
    assert made.notes == (f"detail: {eyes.stem} found face (0.90)",)
    assert studio(**recipe_data(made), detectors=files).encoded == made.encoded


def test_a_detector_of_the_real_kind_finds_and_is_told_by_name(studio: Any, look: Any, eyes: Path) -> None:
    files = {eyes.stem: str(eyes)}
    made = studio(detail=[stage(eyes, max=2)], detectors=files)
    [note] = made.notes
    assert note.count("face (") == 2
    assert len(recipe_data(made)["stages"][0]["detector"]["hash"]) == 10
    assert not np.array_equal(look(made), look(studio()))
    assert studio(**recipe_data(made), detectors=files).encoded == made.encoded


def test_where_nothing_is_found_nothing_is_done_and_it_is_said(studio: Any, look: Any, eyes: Path) -> None:
    made = studio(detail=[stage(eyes, kinds=["hand"])], detectors={eyes.stem: str(eyes)})
    assert made.notes == (f"detail: {eyes.stem} found nothing; skipped",)
    assert np.array_equal(look(made), look(studio()))


def test_detectors_work_one_after_the_other(studio: Any, look: Any, eyes: Path, one_box: None) -> None:
    files = {eyes.stem: str(eyes)}
    both = studio(detail=[stage(eyes), stage(eyes, prompt="a nose")], detectors=files)
    alone = studio(detail=[stage(eyes)], detectors=files)
    assert len(both.notes) == 2
    assert not np.array_equal(look(both), look(alone))


def test_a_class_that_it_has_not_and_a_file_that_is_gone_are_one_sentence(
    studio: Any, eyes: Path, tmp_path: Path
) -> None:
    with pytest.raises(RenderFailed, match="detects none of dog; its classes are face, hand"):
        studio(detail=[stage(eyes, kinds=["dog"])], detectors={eyes.stem: str(eyes)})
    with pytest.raises(RenderFailed, match="has no file; it was found when the job was admitted"):
        studio(detail=[stage(eyes)], detectors={eyes.stem: str(tmp_path / "gone.pt")})


def test_the_mask_is_whole_inside_soft_around_and_nothing_beyond() -> None:
    wanted = DetailRecipe.model_validate(stage(Path("x.pt"), feather=0.25))
    place = detail_region(Image.new("RGB", (128, 128)), Detection("face", "x", BOX, 0.9, 32), wanted)
    assert place.box == (16, 32, 80, 96)
    across = np.asarray(place.mask)[32].astype(int)
    assert (across[16:48] == 255).all()
    assert (across[:8] == 0).all() and (across[-8:] == 0).all()
    assert np.all(np.diff(across[8:16]) > 0)
    mask = latent_mask(place.mask, (128, 128), 8)
    assert mask.shape == (1, 1, 16, 16)
    # Every latent that holds a touched pixel is made anew: 8 pixels of rim, enlarged twice, are two latents more.
    assert mask[0, 0, 8].tolist() == [0, 0] + [1] * 12 + [0, 0]


def test_a_box_at_the_edge_stays_in_the_picture() -> None:
    wanted = DetailRecipe.model_validate(stage(Path("x.pt")))
    place = detail_region(Image.new("RGB", (100, 60)), Detection("face", "x", (0.8, 0.0, 0.2, 1.0), 0.9, 20), wanted)
    assert place.box == (50, 0, 100, 60)
    assert np.asarray(place.mask)[30, -1] == 255
