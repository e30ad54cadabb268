"""Single properties of an XMP packet, found without an XML parser: a packet is a stranger's text, entities and all."""

from __future__ import annotations

import html
import re

PACKET_CHARACTERS_MAX = 1 << 20

PREFIX_CHARACTERS_MAX = 60

_PREFIX = re.compile(r"(<?)([\w.-]+)$")
_TAG = re.compile(r"<[^<>]{0,2000}>")


def find_xmp_property(packet: str | None, name: str, prefixes: tuple[str, ...] = ()) -> str | None:
    """The text of the first property with this local name (`DigitalSourceType`), as an element or as an attribute.

    Where `prefixes` are given, only properties with one of these namespace prefixes count.
    """
    if not packet:
        return None
    packet = packet[:PACKET_CHARACTERS_MAX]
    wanted = rf"(?<![\w.-])(?:{'|'.join(map(re.escape, prefixes))})" if prefixes else ""
    match = re.search(rf"{wanted}:{re.escape(name)}(?=[\s=>/])", packet)
    if match is None:
        return None
    colon = match.end() - len(name) - 1
    prefix = _PREFIX.search(packet[max(0, colon - PREFIX_CHARACTERS_MAX) : colon])
    rest = packet[match.end() :]
    if prefix is None or prefix[1] != "<":
        attribute = re.match(r"\s{0,20}=\s{0,20}([\"'])", rest)
        return _plain(rest[attribute.end() :].partition(attribute[1])[0]) if attribute else None
    opening, _, body = rest.partition(">")
    if resource := re.search(r"resource=[\"']([^\"']{1,500})", opening):
        return _plain(resource[1])
    return _plain(body.partition(f"</{prefix[2]}:{name}>")[0])


def _plain(text: str) -> str | None:
    return html.unescape(_TAG.sub("", text)).strip() or None
