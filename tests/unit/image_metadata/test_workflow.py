"""Files that hold only the UI's workflow: positional widgets and everything that the front end resolves itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indexd.image_metadata.model import ImageMetadata, RawChunk
from indexd.image_metadata.parser import parse_metadata


class Flow:
    """Builds a workflow: nodes by name with their types, widgets, and links between typed slots."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []

    def node(
        self,
        key: Any,
        kind: str,
        widgets: Any = (),
        inputs: tuple[str, ...] = (),
        outputs: tuple[str, ...] = (),
        mode: int = 0,
    ) -> None:
        declared = []
        for entry in inputs:
            name, _, form = entry.partition(":")
            declared.append(
                {
                    "name": name,
                    "type": form.removesuffix("*"),
                    "link": None,
                    **({"widget": {"name": name}} if form.endswith("*") else {}),
                }
            )
        self.nodes.append(
            {
                "id": key,
                "type": kind,
                "mode": mode,
                "widgets_values": list(widgets) if isinstance(widgets, tuple) else widgets,
                "inputs": declared,
                "outputs": [{"name": form, "type": form} for form in outputs],
            }
        )

    def link(self, source: Any, slot: int, target: Any, name: str) -> None:
        wanted = next(node for node in self.nodes if node["id"] == target)
        place = next(index for index, entry in enumerate(wanted["inputs"]) if entry["name"] == name)
        self.links.append([len(self.links) + 1, source, slot, target, place, "*"])

    def read(self, **more: Any) -> ImageMetadata:
        text = json.dumps({"nodes": self.nodes, "links": self.links, **more})
        return parse_metadata([RawChunk("png:workflow", "utf-8", text)])


SAMPLER_INPUTS = ("model:MODEL", "positive:CONDITIONING", "negative:CONDITIONING", "latent_image:LATENT")


def plain() -> Flow:
    flow = Flow()
    flow.node(4, "CheckpointLoaderSimple", ("dir/some.safetensors",), outputs=("MODEL", "CLIP", "VAE"))
    flow.node(6, "CLIPTextEncode", ("a duck",), ("clip:CLIP",), ("CONDITIONING",))
    flow.node(7, "CLIPTextEncode", ("a goose",), ("clip:CLIP",), ("CONDITIONING",))
    flow.node(5, "EmptyLatentImage", (512, 768, 1), outputs=("LATENT",))
    flow.node(3, "KSampler", (2**63 + 1, "randomize", 20, 8, "euler", "normal", 1), SAMPLER_INPUTS, ("LATENT",))
    flow.node(8, "VAEDecode", (), ("samples:LATENT", "vae:VAE"), ("IMAGE",))
    flow.node(9, "SaveImage", ("ComfyUI",), ("images:IMAGE",))
    flow.link(6, 0, 3, "positive")
    flow.link(7, 0, 3, "negative")
    flow.link(5, 0, 3, "latent_image")
    flow.link(3, 0, 8, "samples")
    flow.link(8, 0, 9, "images")
    return flow


def with_model() -> Flow:
    flow = plain()
    flow.link(4, 0, 3, "model")
    return flow


def test_positional_widgets() -> None:
    metadata = with_model().read()
    assert (metadata.prompt, metadata.negative_prompt, metadata.model_name) == ("a duck", "a goose", "some")
    assert (metadata.seed, metadata.steps, metadata.cfg) == (str(2**63 + 1), 20, 8.0)
    assert (metadata.sampler, metadata.schedule, metadata.gen_width, metadata.gen_height) == (
        "euler",
        "normal",
        512,
        768,
    )


def test_widgets_that_newer_front_ends_name() -> None:
    flow = with_model()
    flow.node(
        20,
        "Strange Sampler",
        (1, "fixed", 30, 5, "lcm", "beta"),
        (*SAMPLER_INPUTS, "seed:INT*", "steps:INT*", "cfg:FLOAT*", "sampler_name:COMBO*", "scheduler:COMBO*"),
        ("LATENT",),
    )
    for name, source in (("model", 4), ("positive", 6), ("negative", 7), ("latent_image", 5)):
        flow.link(source, 0, 20, name)
    flow.links = [link for link in flow.links if link[3] != 8]
    flow.link(20, 0, 8, "samples")
    metadata = flow.read()
    assert (metadata.seed, metadata.steps, metadata.cfg, metadata.sampler) == ("1", 30, 5.0, "lcm")


def test_anything_everywhere() -> None:
    flow = plain()
    flow.node(30, "Anything Everywhere", (), ("anything:*",))
    flow.link(4, 0, 30, "anything")
    assert flow.read().model_name == "some"


def test_get_and_set_nodes_and_reroutes() -> None:
    flow = plain()
    flow.node(30, "SetNode", ("the model",), ("MODEL:MODEL",))
    flow.node(31, "GetNode", ("the model",), outputs=("MODEL",))
    flow.node(32, "Reroute", (), (":*",), ("MODEL",))
    flow.link(4, 0, 30, "MODEL")
    flow.link(31, 0, 32, "")
    flow.link(32, 0, 3, "model")
    assert flow.read().model_name == "some"


@pytest.mark.parametrize(("mode", "loras"), [(0, ["x"]), (4, [])])
def test_bypassed_nodes_hand_on_what_they_are_given(mode: int, loras: list[str]) -> None:
    flow = plain()
    flow.node(30, "LoraLoaderModelOnly", ("x.safetensors", 0.5), ("model:MODEL",), ("MODEL",), mode=mode)
    flow.link(4, 0, 30, "model")
    flow.link(30, 0, 3, "model")
    metadata = flow.read()
    assert (metadata.model_name, [use.name for use in metadata.loras]) == ("some", loras)


def test_muted_samplers_made_nothing() -> None:
    flow = with_model()
    flow.nodes[4]["mode"] = 2
    assert flow.read().is_ai is None


def test_subgraphs_are_unfolded() -> None:
    flow = with_model()
    sampler = flow.nodes.pop(4)
    inner = {
        "id": "an-id",
        "nodes": [sampler],
        "links": [
            {"id": slot, "origin_id": -10, "origin_slot": slot, "target_id": 3, "target_slot": slot, "type": "*"}
            for slot in range(4)
        ]
        + [{"id": 9, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "LATENT"}],
    }
    flow.node(3, "an-id", (), SAMPLER_INPUTS, ("LATENT",))
    metadata = flow.read(definitions={"subgraphs": [inner]})
    assert (metadata.prompt, metadata.model_name, metadata.steps) == ("a duck", "some", 20)


def test_a_subgraph_that_holds_itself_ends() -> None:
    inner = {"id": "loop", "nodes": [{"id": 1, "type": "loop"}, {"id": 2, "type": "loop"}], "links": []}
    text = json.dumps({"nodes": [{"id": 1, "type": "loop"}], "links": [], "definitions": {"subgraphs": [inner]}})
    assert parse_metadata([RawChunk("png:workflow", "utf-8", text)]).is_ai is None


@pytest.mark.parametrize(
    "text",
    ["{}", '{"nodes": 3}', '{"nodes": [{"id": 1}], "links": [[1, 2], null, 7, {"origin_id": 1}]}', '{"nodes": [null]}'],
)
def test_shapes_that_are_no_workflow(text: str) -> None:
    metadata = parse_metadata([RawChunk("png:workflow", "utf-8", text)])
    assert (metadata.is_ai, metadata.problem) == (None, None)
