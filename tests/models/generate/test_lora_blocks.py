"""Weights of LoRAs by block: what a job may write, and that each block follows its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from indexd.errors import RenderFailed
from indexd.generate.adapters.lora_adapters import LoraAdapters, LoraRequest
from indexd.generate.sdxl.lora_targets import COMPONENTS, find_lora_targets
from indexd_schemas.lora_blocks import BLOCKS, block_factors, blocks_from_list, blocks_from_text
from tests.models.generate.conftest import recipe_data


@pytest.fixture
def pipeline(tiny_models: Any) -> Any:
    return StableDiffusionXLPipeline.from_pretrained(tiny_models.sdxl, dtype=torch.float32, add_watermarker=False)


@pytest.mark.parametrize(
    ("blocks", "changed"),
    [
        ({}, {}),
        ({"mid": 0.5}, {"mid": 0.5}),
        ({"IN": 0}, {f"in{number}": 0 for number in range(9)}),
        ({"out4-8": 0, "out": 0.5, "out6": 2}, {f"out{n}": 0.5 for n in range(4)} | {f"out{n}": 0 for n in (4, 5, 7, 8)} | {"out6": 2}),
        ({"in00-01": 2}, {"in0": 2, "in1": 2}),
        ({"base": 0, "other": -1}, {"base": 0, "other": -1}),
    ],
)  # fmt: skip
def test_the_narrower_key_wins(blocks: dict[str, float], changed: dict[str, float]) -> None:
    assert block_factors(blocks) == dict.fromkeys(BLOCKS, 1.0) | changed


@pytest.mark.parametrize(
    ("blocks", "sentence"),
    [
        ({"in9": 1}, "in goes from in0 to in8"),
        ({"in5-3": 1}, "there is no block 'in5-3'"),
        ({"middle": 1}, "there is no block 'middle'"),
        ({"mid0": 1}, "there is no block 'mid0'"),
        ({"in1": 11}, "must lie between -10 and 10"),
        ({"in1-3": 1, "in2-4": 0}, "say different things about the same block"),
        ({"in1": 1, "in01": 0}, "say different things about the same block"),
    ],
)
def test_blocks_that_are_none(blocks: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        block_factors(blocks)


def test_lists_and_texts() -> None:
    assert list(blocks_from_list(range(12)).items())[:3] == [("base", 0), ("in4", 1), ("in5", 2)]
    assert list(blocks_from_list(range(20)))[-1] == "out8"
    assert blocks_from_text("in=0.5, out4-8=0") == {"in": 0.5, "out4-8": 0}
    assert blocks_from_text(",".join(["1"] * 12)) == blocks_from_list([1] * 12)
    for text in ("1,2", "in=x", "in", "in=1,in=2", "in=1,2", "", "xx=1"):
        with pytest.raises(ValueError):
            blocks_from_text(text)


def test_every_block_follows_its_own_weight(pipeline: Any, tiny_models: Any) -> None:
    blocks = {"in4": 0.0, "in5": -0.5, "mid": 3.0, "out1-2": 0.25, "base": 0.5}
    table = {(target.component, target.module): target.block for target in find_lora_targets(pipeline).values()}
    LoraAdapters(pipeline).activate([LoraRequest("tiny", tiny_models.lora, 2.0, 1.0, blocks)])
    expected = block_factors(blocks)
    seen = set()
    for component in COMPONENTS:
        for name, layer in getattr(pipeline, component).named_modules():
            if not hasattr(layer, "lora_A"):
                continue
            block = table[component, name]
            factor = expected[block] * (2.0 if component == "unet" else 1.0)
            assert layer.disable_adapters == (factor == 0)
            if factor:
                assert layer.scaling[layer.active_adapters[0]] == pytest.approx(factor)
            seen.add(block)
    assert {"in4", "in5", "in7", "in8", "mid", "out0", "out5", "base"} <= seen


def test_the_blocks_of_the_unet_are_where_their_names_say(pipeline: Any) -> None:
    blocks = {
        target.module: target.block for target in find_lora_targets(pipeline).values() if target.component == "unet"
    }
    assert blocks["conv_in"] == "in0"
    assert blocks["down_blocks.0.downsamplers.0.conv"] == "in3"
    assert blocks["down_blocks.2.resnets.1.conv1"] == "in8"
    assert blocks["mid_block.attentions.0.proj_in"] == "mid"
    assert blocks["up_blocks.0.resnets.0.conv1"] == "out0"
    assert blocks["up_blocks.2.resnets.2.conv2"] == "out8"
    assert blocks["time_embedding.linear_1"] == blocks["conv_out"] == "other"


def test_blocks_that_are_none_leave_nothing_active(pipeline: Any, tiny_models: Any) -> None:
    shelf = LoraAdapters(pipeline)
    with pytest.raises(RenderFailed, match="LoRA tiny: there is no block 'x'"):
        shelf.activate([LoraRequest("tiny", tiny_models.lora, 1.0, None, {"x": 1})])
    assert shelf.active_text_weights() == ()


def test_a_render_by_blocks_and_back(studio: Any, look: Any) -> None:
    files = {"tiny-lora": str(studio.models.lora)}

    def made(**more: Any) -> Any:
        return studio(files=files, steps=2, loras=[{"name": "tiny-lora", "weight": 0.7, **more}])

    base, whole = studio(steps=2), made()
    half = made(blocks={"in": 0, "base": 0})
    assert len({base.encoded, whole.encoded, half.encoded}) == 3
    assert (look(made(blocks={"in": 0, "mid": 0, "out": 0, "other": 0, "base": 0})) == look(base)).all()
    assert (look(made(blocks={"in": 1})) == look(whole)).all()
    assert recipe_data(half)["loras"][0]["blocks"] == {"in": 0, "base": 0}
    assert studio(steps=2).encoded == base.encoded
