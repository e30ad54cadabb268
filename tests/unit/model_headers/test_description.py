"""What model files are, told by their headers; nothing of them is unpickled, and nothing they state is believed unchecked."""

from __future__ import annotations

import io
import json
import os
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from indexd.model_headers import safetensors_header
from indexd.model_headers.description import ModelDescription
from indexd.model_headers.inspect_file import describe_model
from tests.support import model_files as samples
from tests.support.model_files import Shapes, header_bytes, write_model

REFINER = {
    "model.diffusion_model.input_blocks.0.0.weight": (384, 4, 3, 3),
    "model.diffusion_model.out.2.weight": (4, 384, 3, 3),
    "conditioner.embedders.0.model.ln_final.bias": (1280,),
}
FLUX = {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)}
SD3 = {"model.diffusion_model.joint_blocks.0.context_block.attn.proj.bias": (1536,)}
SDXL_UNET = {"conv_in.weight": (320, 4, 3, 3), "mid_block.resnets.0.time_emb_proj.weight": (1280, 1280),
             "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 2048)}  # fmt: skip
FLUX_LORA = {"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (16, 3072)}
INPAINTING = {**samples.SDXL_CHECKPOINT, "model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3)}


@pytest.mark.parametrize(
    ("shapes", "kind", "family"),
    [
        (samples.SDXL_CHECKPOINT, "checkpoint", "sdxl"),
        (samples.SD1_CHECKPOINT, "checkpoint", "sd1"),
        (REFINER, "checkpoint", "sdxl-refiner"),
        (INPAINTING, "checkpoint", "sdxl"),
        (FLUX, "diffusion_model", "flux"),
        (SD3, "diffusion_model", "sd3"),
        (SDXL_UNET, "diffusion_model", "sdxl"),
        (samples.SDXL_LORA, "lora", "sdxl"),
        (samples.SD1_LORA, "lora", "sd1"),
        (FLUX_LORA, "lora", "flux"),
        ({"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": (640, 4)}, "lora", ""),
        (samples.VAE, "vae", ""),
        (samples.SDXL_EMBEDDING, "embedding", "sdxl"),
        ({"emb_params": (4, 768)}, "embedding", "sd1"),
        ({"emb_params": (1024,)}, "embedding", "sd2"),
        (samples.SDXL_CONTROL_NET, "controlnet", "sdxl"),
        ({"control_model.input_hint_block.0.weight": (16, 3, 3, 3),
          "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768)}, "controlnet", "sd1"),
        (samples.IP_ADAPTER, "ip_adapter", "sdxl"),
        (samples.UPSCALER, "upscaler", ""),
        ({"text_model.encoder.layers.0.self_attn.q_proj.weight": (768, 768)}, "text_encoder", ""),
        ({"vision_model.embeddings.class_embedding": (1280,)}, "image_encoder", ""),
        ({"something.weight": (4, 4), "something.bias": (4,)}, "unknown", ""),
    ],
)  # fmt: skip
def test_kind_and_family_are_told_by_names_and_shapes(tmp_path: Path, shapes: Shapes, kind: str, family: str) -> None:
    found = describe_model(write_model(tmp_path / "x.safetensors", shapes))
    assert (found.format, found.kind, found.family, found.problem) == ("safetensors", kind, family, "")


def test_a_small_model_of_the_same_topology_is_recognised(tmp_path: Path) -> None:
    small = {name: tuple(min(side, 56) for side in shape) for name, shape in samples.SDXL_CHECKPOINT.items()}
    found = describe_model(write_model(tmp_path / "x.safetensors", small))
    assert (found.kind, found.family, found.channels, found.has_vae) == ("checkpoint", "sdxl", 4, True)


def test_training_and_precision_are_described(tmp_path: Path) -> None:
    marks: Shapes = {"v_pred": (0,), "ztsnr": (0,)}
    path = write_model(tmp_path / "x.safetensors", {**samples.SDXL_CHECKPOINT, **marks}, {"modelspec.title": "A\nB"})
    found = describe_model(path)
    assert (found.prediction, found.zero_terminal_snr, found.precision, found.title) == ("v", True, "float16", "A B")
    assert found.summary == "SDXL checkpoint v prediction float16"


_QUERY = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("dtype", "more", "expected"),
    [
        ("F8_E4M3", {f"{_QUERY}.weight": (640, 640), f"{_QUERY}.weight_scale": ()}, ""),
        ("I8", {f"{_QUERY}.weight": (640, 640), f"{_QUERY}.weight_scale": (640,)}, "int8"),
        ("U8", {f"{_QUERY}.weight": (640, 320), f"{_QUERY}.weight_scale": ()}, "4 bits"),
        ("U8", {f"{_QUERY}.weight": (640, 320), f"{_QUERY}.weight_scale_2": ()}, "nvfp4"),
        (
            "U8",
            {f"{_QUERY}.weight": (204800, 1), f"{_QUERY}.weight.quant_state.bitsandbytes__nf4": (90,)},
            "bitsandbytes",
        ),
    ],
)
def test_packed_weights_are_named(tmp_path: Path, dtype: str, more: Shapes, expected: str) -> None:
    found = describe_model(write_model(tmp_path / "x.safetensors", {**samples.SDXL_CHECKPOINT, **more}, dtype=dtype))
    assert (found.kind, found.quantization) == ("checkpoint", expected)


def test_a_lora_is_described(tmp_path: Path) -> None:
    dora: Shapes = {**samples.SDXL_LORA, "lora_te2_text_model_encoder_layers_0_mlp_fc1.dora_scale": (5120, 1)}
    found = describe_model(write_model(tmp_path / "x.safetensors", dora))
    assert found.lora is not None
    assert (found.lora.forms, found.lora.components) == (("dora", "lora"), ("unet", "text_encoder_2"))
    assert (found.lora.rank, found.lora.modules) == (8, 2)
    assert found.summary == "SDXL LoRA (dora) rank 8 float16"


def test_what_the_trainer_stated_counts_where_tensors_leave_it_open(tmp_path: Path) -> None:
    shapes = {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (8, 640)}
    stated = write_model(tmp_path / "x.safetensors", shapes, {"ss_base_model_version": "sdxl_base_v1-0"})
    assert describe_model(stated).family == "sdxl"
    denied = write_model(tmp_path / "y.safetensors", samples.SD1_LORA, {"ss_base_model_version": "sdxl_base_v1-0"})
    assert describe_model(denied).family == "sd1"


def _zip(name: str = "archive/data.pkl") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"\x80\x02cos\nsystem\n.")
    return buffer.getvalue()


def _whole() -> bytes:
    start, size = header_bytes(samples.VAE)
    return start + bytes(size - len(start))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty (0 bytes)"),
        (bytes(5000), "begins with zero bytes"),
        (b"<!DOCTYPE html><html>sign in</html>", "is a web page"),
        (b"\n  <HTML>", "is a web page"),
        (b'{"error":"unauthorized"}', "is a text (probably the error message of a download)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
        (_zip()[:-10], "is cut off: the end of its archive is missing"),
        (_whole()[:-1], "is cut off: "),
        (_whole()[:60], "is cut off: it ends within its header"),
        (_whole() + b"x", "has 1 bytes after its last tensor"),
        (b"nothing of the kind", "is no model file"),
        (b"\xff" * 40, "is no model file"),
        ((2 << 20).to_bytes(8, "little") + b"{" + bytes(100), "is cut off: it ends within its header"),
    ],
)
def test_what_is_no_usable_file_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    assert expected in describe_model(tmp_path / "x.safetensors").problem


def test_a_pipe_in_place_of_a_model_is_named_without_waiting(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no named pipes in folders")
    os.mkfifo(tmp_path / "x.safetensors")
    assert describe_model(tmp_path / "x.safetensors").problem == "is no regular file; put the model file in its place"


@pytest.mark.parametrize(("content", "expected"), [(b"GGUF\3\0\0\0", "gguf"), (_zip(), "pickle"), (b"\x80\x04.", "pickle")])  # fmt: skip
def test_other_formats_are_told_apart_without_reading_them(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    found = describe_model(tmp_path / "x.bin")
    assert (found.format, found.problem) == (expected, "")


def _header(text: bytes, more: int = 0) -> bytes:
    return len(text).to_bytes(8, "little") + text + bytes(more)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 6]}}',
        b'{"a": {"dtype": "F16", "shape": [3], "data_offsets": [2, 8]}}',
        b'{"a": {"dtype": "F16", "shape": [3], "data_offsets": [0, 6]}, "b": {"dtype": "F16", "shape": [3], "data_offsets": [0, 6]}}',
        b'{"a": {"dtype": "F16", "shape": [-3], "data_offsets": [0, -6]}}',
        b'{"a": {"dtype": "F16", "shape": [1e400], "data_offsets": [0, 6]}}',
        b'{"a": {"dtype": [], "shape": [3], "data_offsets": [0, 6]}}',
        b'{"a": {"dtype": "F16", "shape": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"a": {"shape": ' + json.dumps([1] * 50_000).encode() + b', "dtype": "F16", "data_offsets": [0, 2]}}',
        b'{"a": 5}',
        b"{not json}",
        b'{"__metadata__": 5, "a": 3}',
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(_header(text, 6))
    assert describe_model(tmp_path / "x.safetensors").problem.startswith("is damaged")


def test_a_header_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors_header, "MAX_HEADER_BYTES", 1 << 10)
    (tmp_path / "x.safetensors").write_bytes(_header(b'{"__metadata__": {"t": "' + b"x" * 2000 + b'"}}'))
    assert "has a header of" in describe_model(tmp_path / "x.safetensors").problem


def _folder(path: Path, index: dict[str, object], unet: dict[str, object]) -> Path:
    (path / "unet").mkdir(parents=True)
    (path / "model_index.json").write_text(json.dumps(index), "utf-8")
    (path / "unet" / "config.json").write_text(json.dumps(unet), "utf-8")
    write_model(path / "unet" / "diffusion_pytorch_model.safetensors", SDXL_UNET)
    return path


@pytest.mark.parametrize(
    ("name", "unet", "family", "channels"),
    [
        ("StableDiffusionXLPipeline", {"cross_attention_dim": 2048, "in_channels": 4}, "sdxl", 4),
        ("StableDiffusionXLInpaintPipeline", {"cross_attention_dim": 56, "in_channels": 9}, "sdxl", 9),
        ("StableDiffusionPipeline", {"cross_attention_dim": 1024, "in_channels": 4}, "sd2", 4),
        ("FluxPipeline", {}, "flux", None),
    ],
)
def test_a_folder_is_described_by_its_configuration(
    tmp_path: Path, name: str, unet: dict[str, object], family: str, channels: int | None
) -> None:
    found = describe_model(_folder(tmp_path / "m", {"_class_name": name}, unet))
    assert (found.format, found.kind, found.family, found.channels) == ("folder", "checkpoint", family, channels)


def _cut_weights(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])


def _no_weights(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")


def _bad_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("[" * 100_000, "utf-8")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_cut_weights, "has a file unet/diffusion_pytorch_model.safetensors that is cut off"),
        (_no_weights, "has no .safetensors weights"),
        (_bad_index, "has a model_index.json that cannot be read"),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path: Path, damage: Callable[[Path], None], expected: str) -> None:
    folder = _folder(tmp_path / "m", {"_class_name": "StableDiffusionXLPipeline"}, {})
    damage(folder)
    assert expected in describe_model(folder).problem


def test_a_description_without_facts_has_no_words() -> None:
    assert ModelDescription("unknown").summary == ""


def test_no_mutation_of_a_header_raises_or_is_slow(tmp_path: Path) -> None:
    """A thousand files with bytes of their headers changed, doubled, left out or cut off."""
    chance = random.Random(7)
    start, size = header_bytes(samples.SDXL_LORA, {"ss_base_model_version": "sdxl_base_v1-0"})
    path, problems = tmp_path / "x.safetensors", set()
    for _ in range(1000):
        changed = bytearray(start)
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(changed))
            match chance.randrange(4):
                case 0:
                    changed[place] = chance.randrange(256)
                case 1:
                    changed[place:place] = changed[place : place + chance.randint(1, 40)]
                case 2:
                    del changed[place : place + chance.randint(1, 40)]
                case _:
                    changed[place] = chance.choice(b'{}[],:"0123456789-eE')
        with path.open("wb") as file:
            file.write(changed)
            file.truncate(chance.choice([len(changed), size, 2 * size]))
        found = describe_model(path)
        problems.add(found.problem.partition(":")[0])
        assert len(found.problem) < 300
    assert {"is damaged", "is cut off"} <= problems
