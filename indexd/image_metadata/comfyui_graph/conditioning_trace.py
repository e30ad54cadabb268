"""From a sampler's positive or negative input back to the texts that made it, and the ControlNets on the way."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from indexd.image_metadata import coerce
from indexd.image_metadata.comfyui_graph.input_values import resolve_input
from indexd.image_metadata.comfyui_graph.node_graph import GraphNode, NodeGraph, NodeLink, TraceBudget
from indexd.image_metadata.comfyui_graph.text_inputs import TEXT_INPUTS, TextResolver
from indexd.image_metadata.model import ControlUse

PromptSide = Literal["positive", "negative"]

_CONDITIONING_INPUTS = (
    "conditioning",
    "conditioning_to",
    "conditioning_1",
    "conditioning_from",
    "conditioning_2",
    "conditioning1",
    "conditioning2",
    "cond",
    "cond1",
    "cond2",
    "base_conditioning",
)
_OTHER_INPUT = re.compile(
    r"model|unet|^clip(?!_region)|vae|image|pixel|mask|latent|samples|control_net|lora|style|noise|sigmas|sampler",
    re.IGNORECASE,
)
_TEXT_INPUT = re.compile(r"^(?:text|prompt|string)$|^text_[gl]$|^clip_[gl]$|^t5xxl$", re.IGNORECASE)
_FOLLOWED_TYPES = ("CONDITIONING", "*")


@dataclass(frozen=True, slots=True)
class PromptPassage:
    """A text, and whether it applies only to a part of the image."""

    text: str
    is_regional: bool = False


@dataclass(slots=True)
class ConditioningTracer:
    """The conditionings of one graph. `controls` and `guidance` (FLUX) collect what was met on the way."""

    graph: NodeGraph
    budget: TraceBudget
    controls: list[ControlUse] = field(default_factory=list)
    guidance: float | None = None

    def trace_passages(
        self, link: NodeLink | None, role: PromptSide, depth: int = 0, seen: frozenset[str] = frozenset()
    ) -> list[PromptPassage]:
        """The texts behind a link in their order; an emptied conditioning is one empty text."""
        if link is None or link.source in seen or not self.budget.take_step(depth):
            return []
        node = self.graph.nodes[link.source]
        seen = seen | {node.id}
        if node.kind_contains("zeroout"):
            return [PromptPassage("")]
        self._collect_control_and_guidance(node)
        role = self._side_of_output(node, link, role)
        own = self.graph.link_at(node, role)
        if own is not None:
            return self.trace_passages(own, role, depth + 1, seen)
        linked = [inner for name in _CONDITIONING_INPUTS if (inner := self.graph.link_at(node, name)) is not None]
        if linked:
            # GLIGEN labels and area texts name a part of the image; the text that they modify is the prompt.
            merged = [found for inner in linked for found in self.trace_passages(inner, role, depth + 1, seen)]
            return self._merge_passages(node, merged)
        text = self._text_on_node(node, role, depth, link.slot)
        if text is not None:
            return [PromptPassage(text)]
        for name, inner in self.graph.iter_links(node):
            if self._may_follow(node, name, role) and (found := self.trace_passages(inner, role, depth + 1, seen)):
                return found
        return []

    def _may_follow(self, node: GraphNode, name: str, role: PromptSide) -> bool:
        """Whether an input of an unknown node may bring this side's conditioning."""
        if ("negative" if role == "positive" else "positive") in name.lower():
            return False
        declared = self.graph.input_type(node, name)
        if declared in _FOLLOWED_TYPES:
            return True
        # What stands behind a text input was asked for already: a text that cannot be told is no other text either.
        return (
            _OTHER_INPUT.search(name) is None
            and _TEXT_INPUT.search(name) is None
            and declared
            not in (
                "MODEL",
                "IMAGE",
                "LATENT",
                "CLIP",
                "VAE",
                "STRING",
            )
        )

    def _side_of_output(self, node: GraphNode, link: NodeLink, role: PromptSide) -> PromptSide:
        """Nodes that take both sides give the positive one out first; the slots of pipes have names."""
        takes_both = self._is_linked(node, "positive") and self._is_linked(node, "negative")
        if takes_both or any(self.graph.iter_pipe_links(node)) or node.kind_contains("pipe", "context", "loader"):
            slot_name = self.graph.output_name(node, link.slot)
            if slot_name in ("positive", "negative"):
                return "positive" if slot_name == "positive" else "negative"
        if not takes_both or node.kind_contains("pipe", "context", "loader"):
            return role
        if link.slot > 1:
            return role
        return "negative" if link.slot else "positive"

    def _is_linked(self, node: GraphNode, name: str) -> bool:
        return self.graph.link_at(node, name) is not None

    def _merge_passages(self, node: GraphNode, found: list[PromptPassage]) -> list[PromptPassage]:
        if node.kind_contains("setarea", "setmask", "area", "regional"):
            return [PromptPassage(passage.text, True) for passage in found]
        if node.kind_contains("concat") and len(found) > 1:
            # The tokens of a concatenation stand one behind the other: together they are the prompt.
            text = "\n".join(passage.text.strip() for passage in found if passage.text)
            if not self.budget.take_characters(len(text)):
                return found
            return [PromptPassage(text[: coerce.TEXT_MAX], all(passage.is_regional for passage in found))]
        return found

    def _text_on_node(self, node: GraphNode, role: PromptSide, depth: int, slot: int) -> str | None:
        strings = TextResolver(self.graph, self.budget)
        if not any(name in node.inputs for name in (*TEXT_INPUTS, role, f"text_{role}", f"{role}_prompt", f"{role}_g")):
            return None
        return strings.text_of_node(node, role, depth + 1, slot)

    def _collect_control_and_guidance(self, node: GraphNode) -> None:
        if "guidance" in node.inputs and self.guidance is None:
            self.guidance = coerce.parse_float(resolve_input(self.graph, node, "guidance"))
        link = self.graph.link_at(node, "control_net")
        if link is not None and len(self.controls) < 50:
            use = ControlUse(
                self._control_model(link),
                None,
                coerce.parse_float(resolve_input(self.graph, node, "strength")),
                coerce.parse_float(resolve_input(self.graph, node, "start_percent")),
                coerce.parse_float(resolve_input(self.graph, node, "end_percent")),
            )
            if use not in self.controls:
                self.controls.append(use)

    def _control_model(self, link: NodeLink) -> str | None:
        for node in (self.graph.nodes[link.source], *self.graph.iter_upstream([link.source])):
            if (name := coerce.parse_model_name(node.inputs.get("control_net_name"))) is not None:
                return name
        return None


def select_main_text(passages: list[PromptPassage]) -> tuple[str | None, list[str]]:
    """The prompt and the other texts. The prompt is the first text that applies to the whole image and is not empty."""
    whole = [passage for passage in passages if not passage.is_regional and passage.text.strip()]
    chosen = next(iter(whole or passages), None)
    if chosen is None:
        return None, []
    return chosen.text, [passage.text for passage in passages if passage is not chosen and passage.text.strip()]
