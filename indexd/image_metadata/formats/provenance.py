"""Images that state only that a model made them: C2PA manifests (gpt-image, Gemini, Firefly) and IPTC properties."""

from __future__ import annotations

from indexd.image_metadata import coerce
from indexd.image_metadata.model import ImageMetadata
from indexd.image_metadata.registry import MetadataTexts, register_reader
from indexd.image_metadata.xmp import find_xmp_property

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


def is_ai_source_type(source_type: str) -> bool:
    """Whether a digital source type (a URL or its last part) names a trained model."""
    return source_type.rsplit("/", 1)[-1].strip() in AI_SOURCE_TYPES


@register_reader("provenance", rank=90)
def read_provenance(texts: MetadataTexts) -> ImageMetadata | None:
    """The program that made the image, when nothing else in it states the settings; None when no AI is stated."""
    manifest = texts.json_object("c2pa")
    if any(is_ai_source_type(str(kind)) for kind in manifest.get("digitalSourceType", ())):
        agents = [str(agent) for key in ("softwareAgent", "claim_generator") for agent in manifest.get(key, ())]
        return ImageMetadata(
            generator=_detect_generator(agents), generator_version=next(iter(agents), None), source="c2pa", is_ai="c2pa"
        )
    packet = texts.get("xmp")
    system = find_xmp_property(packet, "AISystemUsed")
    if system is None and not is_ai_source_type(find_xmp_property(packet, "DigitalSourceType") or ""):
        return None
    return ImageMetadata(
        generator=_detect_generator([system]) if system else None,
        generator_version=find_xmp_property(packet, "AISystemVersionUsed"),
        source="xmp",
        is_ai="iptc",
        prompt=coerce.nonempty_text(find_xmp_property(packet, "AIPromptInformation")),
    )


def _detect_generator(agents: list[str]) -> str | None:
    for agent in agents:
        for mark, name in _AGENTS:
            if mark in agent.lower():
                return name
    return agents[0].lower()[:60] if agents else None
