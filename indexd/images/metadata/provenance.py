"""Pictures that only say that a model made them: C2PA manifests (gpt-image, Gemini, Firefly) and IPTC's properties."""

from __future__ import annotations

from indexd.images.facts import Metadata
from indexd.images.metadata import values
from indexd.images.metadata.registry import Texts, reads
from indexd.images.metadata.xmp import xmp_value

AI_SOURCE_TYPES = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
"""IPTC digital source types: made, or edited in part, by a trained model (cv.iptc.org/newscodes/digitalsourcetype)."""

_AGENTS = (
    ("gpt-image", "gpt-image"),
    ("gpt-4o", "gpt-image"),
    ("chatgpt", "gpt-image"),
    ("openai", "gpt-image"),
    ("dall", "dall-e"),
    ("firefly", "firefly"),
    ("gemini", "gemini"),
    ("imagen", "gemini"),
    ("google", "gemini"),
    ("bing", "bing"),
    ("microsoft", "bing"),
)


def says_ai(source_type: str) -> bool:
    """Whether a digital source type (a URL or its last part) names a trained model."""
    return source_type.rsplit("/", 1)[-1].strip() in AI_SOURCE_TYPES


@reads("provenance", rank=90)
def read(texts: Texts) -> Metadata | None:
    """Who made the picture, where nothing else in it says how; None where no AI is stated."""
    manifest = texts.record("c2pa")
    if any(says_ai(str(kind)) for kind in manifest.get("digitalSourceType", ())):
        agents = [str(agent) for key in ("softwareAgent", "claim_generator") for agent in manifest.get(key, ())]
        return Metadata(
            generator=_maker(agents), generator_version=next(iter(agents), None), source="c2pa", is_ai="c2pa"
        )
    packet = texts.get("xmp")
    system = xmp_value(packet, "AISystemUsed")
    if system is None and not says_ai(xmp_value(packet, "DigitalSourceType") or ""):
        return None
    return Metadata(
        generator=_maker([system]) if system else None,
        generator_version=xmp_value(packet, "AISystemVersionUsed"),
        source="xmp",
        is_ai="iptc",
        prompt=values.stated(xmp_value(packet, "AIPromptInformation")),
    )


def _maker(agents: list[str]) -> str | None:
    for agent in agents:
        for mark, name in _AGENTS:
            if mark in agent.lower():
                return name
    return agents[0].lower()[:60] if agents else None
