"""From a sampler's positive or negative input back to the texts that made it, and the ControlNets on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from indexd.images.facts import ControlUse
from indexd.images.metadata import values
from indexd.images.metadata.graph.nodes import Budget, Graph, Link, Node
from indexd.images.metadata.graph.settings import plain
from indexd.images.metadata.graph.strings import TEXT_NAMES, Strings

Role = Literal["positive", "negative"]

_CONDITIONINGS = (
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
_NOT_CONDITIONING = frozenset(
    (
        "clip",
        "model",
        "vae",
        "control_net",
        "image",
        "pixels",
        "mask",
        "latent",
        "latent_image",
        "samples",
        "clip_vision",
        "clip_vision_output",
    )
)


@dataclass(frozen=True, slots=True)
class Passage:
    """One text and whether it counts for a part of the picture only."""

    text: str
    confined: bool = False


@dataclass(slots=True)
class Conditionings:
    """The conditionings of one graph. `controls` and `guidance` (FLUX) collect what was met on the way."""

    graph: Graph
    budget: Budget
    controls: list[ControlUse] = field(default_factory=list)
    guidance: float | None = None

    def passages(
        self, link: Link | None, role: Role, depth: int = 0, seen: frozenset[str] = frozenset()
    ) -> list[Passage]:
        """The texts behind a link in their order; an emptied conditioning is one empty text."""
        if link is None or link.source in seen or not self.budget.spend(depth):
            return []
        node = self.graph.nodes[link.source]
        seen = seen | {node.id}
        if node.has("zeroout"):
            return [Passage("")]
        self._note(node)
        role = self._role(node, link, role)
        own = self.graph.link(node, role)
        if own is not None and (found := self.passages(own, role, depth + 1, seen)):
            return found
        linked = [inner for name in _CONDITIONINGS if (inner := self.graph.link(node, name)) is not None]
        if linked:
            # GLIGEN labels and area texts name a part of the picture: what they are laid over is the prompt.
            merged = [found for inner in linked for found in self.passages(inner, role, depth + 1, seen)]
            return self._merged(node, merged)
        text = self._own_text(node, role, depth)
        if text is not None:
            return [Passage(text)]
        for name, inner in self.graph.links(node):
            if name not in _NOT_CONDITIONING and (found := self.passages(inner, role, depth + 1, seen)):
                return found
        return []

    def _role(self, node: Node, link: Link, role: Role) -> Role:
        """Nodes that take both sides give the positive one out first; pipes keep their own order."""
        takes_both = self._takes(node, "positive") and self._takes(node, "negative")
        if not takes_both or node.has("pipe", "context", "loader"):
            return role
        if link.slot > 1:
            return role
        return "negative" if link.slot else "positive"

    def _takes(self, node: Node, name: str) -> bool:
        return self.graph.link(node, name) is not None

    def _merged(self, node: Node, found: list[Passage]) -> list[Passage]:
        if node.has("setarea", "setmask", "area", "regional"):
            return [Passage(passage.text, True) for passage in found]
        if node.has("concat") and len(found) > 1:
            # The tokens of a concatenation stand one behind the other: together they are the prompt.
            text = "\n".join(passage.text.strip() for passage in found if passage.text)
            return [Passage(text[: values.TEXT_MAX], all(passage.confined for passage in found))]
        return found

    def _own_text(self, node: Node, role: Role, depth: int) -> str | None:
        strings = Strings(self.graph, self.budget)
        if not any(name in node.inputs for name in (*TEXT_NAMES, role, f"text_{role}", f"{role}_prompt")):
            return None
        return strings.of_node(node, role, depth + 1)

    def _note(self, node: Node) -> None:
        if "guidance" in node.inputs and self.guidance is None:
            self.guidance = values.number(plain(self.graph, node, "guidance"))
        link = self.graph.link(node, "control_net")
        if link is not None and len(self.controls) < 50:
            use = ControlUse(
                self._control_model(link),
                None,
                values.number(plain(self.graph, node, "strength")),
                values.number(plain(self.graph, node, "start_percent")),
                values.number(plain(self.graph, node, "end_percent")),
            )
            if use not in self.controls:
                self.controls.append(use)

    def _control_model(self, link: Link) -> str | None:
        for node in (self.graph.nodes[link.source], *self.graph.upstream([link.source])):
            if (name := values.model_name(node.inputs.get("control_net_name"))) is not None:
                return name
        return None


def main_text(passages: list[Passage]) -> tuple[str | None, list[str]]:
    """The prompt among several texts, and the others: the first that counts for the whole picture and is not empty."""
    whole = [passage for passage in passages if not passage.confined and passage.text.strip()]
    chosen = next(iter(whole or passages), None)
    if chosen is None:
        return None, []
    return chosen.text, [passage.text for passage in passages if passage is not chosen and passage.text.strip()]
