"""The shipped upscaler: spandrel knows it, and it draws better than resampling does."""

from __future__ import annotations

from indexd_toyworld.evaluate import upscaler
from indexd_toyworld.model_paths import ToyModels


def test_it_is_nearer_to_the_larger_drawing_than_resampling(toy_world: ToyModels) -> None:
    result = upscaler.evaluate(toy_world.folder, lambda _what, _done, _total: None)
    psnr, *plain = result.metrics
    assert psnr.is_met
    assert psnr.value > max(figure.value for figure in plain if figure.unit == "dB") + 1.0
    assert toy_world.upscaler.stat().st_size < 400_000
