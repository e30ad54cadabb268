"""Single properties of an XMP packet, found without an XML parser: a packet is a stranger's text, entities and all."""

from __future__ import annotations

import html
import re

PACKET_CHARACTERS_MAX = 1 << 20

_TAG = re.compile(r"<[^<>]{0,2000}>")


def xmp_value(packet: str | None, name: str) -> str | None:
    """The text of the first property with this local name (`DigitalSourceType`), as an element or as an attribute."""
    if not packet:
        return None
    packet = packet[:PACKET_CHARACTERS_MAX]
    match = re.search(rf"[\w.-]{{1,40}}:{re.escape(name)}(?=[\s=>/])", packet)
    if match is None:
        return None
    rest = packet[match.end() :]
    if packet[match.start() - 1 : match.start()] != "<":
        attribute = re.match(r"\s*=\s*([\"'])", rest)
        if attribute is None:
            return None
        return _plain(rest[attribute.end() :].partition(attribute[1])[0])
    opening, _, body = rest.partition(">")
    if resource := re.search(r"resource\s*=\s*[\"']([^\"']{1,500})", opening):
        return _plain(resource[1])
    return _plain(body.partition(f"</{match[0]}")[0])


def _plain(text: str) -> str | None:
    return html.unescape(_TAG.sub("", text)).strip() or None
