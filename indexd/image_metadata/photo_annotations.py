"""Ratings and keywords that people gave in photo programs: in XMP, IPTC and EXIF of a file, and in XMP sidecars.

XMP properties: `xmp:Rating`, `dc:subject` (ISO 16684-1), `lr:hierarchicalSubject` (levels parted by `|`), `digiKam:TagsList`,
`MicrosoftPhoto:Rating` (percent) and `MicrosoftPhoto:LastKeywordXMP` (levels parted by `/`). IPTC: dataset 2:25 of the IIM
(iptc.org, IIM 4.2). EXIF: Windows' `Rating` (0x4746) and `XPKeywords`, parted by `;`.

XML is parsed by expat; a packet with a document type, and so with entities, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from xml.parsers import expat

from indexd.image_metadata.model import PhotoAnnotations
from indexd.image_metadata.xmp import PACKET_CHARACTERS_MAX

if TYPE_CHECKING:
    from indexd.image_metadata.registry import MetadataTexts

KEYWORDS_MAX = 500
KEYWORD_CHARACTERS_MAX = 200
_DEPTH_MAX = 100

_XMP, _DC = "http://ns.adobe.com/xap/1.0/", "http://purl.org/dc/elements/1.1/"
_LIGHTROOM, _DIGIKAM = "http://ns.adobe.com/lightroom/1.0/", "http://www.digikam.org/ns/1.0/"
_MICROSOFT = "http://ns.microsoft.com/photo/1.0/"
_RATING, _PERCENT = f"{_XMP} Rating", f"{_MICROSOFT} Rating"
_SUBJECT = f"{_DC} subject"
# What parts the levels of a keyword, by property.
_HIERARCHIES = {
    f"{_LIGHTROOM} hierarchicalSubject": "|",
    f"{_DIGIKAM} TagsList": "/",
    f"{_MICROSOFT} LastKeywordXMP": "/",
}
_NAMES = ("Rating", "subject", "hierarchicalSubject", "TagsList", "LastKeywordXMP")
_PROPERTIES = frozenset((_RATING, _PERCENT, _SUBJECT, *_HIERARCHIES))
# Top levels under which programs keep notes for themselves.
_INTERNAL = frozenset(("_digikam_internal_tags_", "darktable"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")


def find_photo_annotations(texts: MetadataTexts) -> PhotoAnnotations | None:
    """What the texts of a file state; None where they state neither a rating nor a keyword."""
    packet = texts.get("xmp")
    stated = _parse_properties(packet) if packet else {}
    flat = [*(texts.get("iptc:Keywords") or "").split("\n"), *(texts.get("exif:XPKeywords") or "").split(";")]
    return _annotations(stated, flat, texts.get("exif:Rating"))


def parse_xmp_annotations(packet: str) -> PhotoAnnotations | None:
    """What an XMP packet or sidecar states; None where it states nothing or cannot be parsed."""
    return _annotations(_parse_properties(packet), (), None)


def _annotations(stated: dict[str, list[str]], flat: Iterable[str], exif_rating: str | None) -> PhotoAnnotations | None:
    paths = [
        path for name, sign in _HIERARCHIES.items() for text in stated.get(name, ()) if (path := _levels(text, sign))
    ]
    # Programs repeat the levels of a keyword as keywords of their own.
    known = {level.casefold() for path in paths for level in path} | {"/".join(path).casefold() for path in paths}
    plain = [
        (word,)
        for text in (*stated.get(_SUBJECT, ()), *flat)
        if (word := _clean(text)) and word.casefold() not in known
    ]
    keywords: dict[str, str] = {}
    for path in (*paths, *plain):
        if path[0].casefold() not in _INTERNAL and path[-1]:
            keyword = "/".join(path)
            if len(keyword) <= KEYWORD_CHARACTERS_MAX:
                keywords.setdefault(keyword.casefold(), keyword)
    # A keyword below which another stands is said by that.
    leaves = [word for key, word in keywords.items() if not any(other.startswith(f"{key}/") for other in keywords)]
    rating = _find_rating(stated, exif_rating)
    found = PhotoAnnotations(rating, tuple(leaves[:KEYWORDS_MAX]))
    return found if found != PhotoAnnotations() else None


def _find_rating(stated: dict[str, list[str]], exif_rating: str | None) -> int | None:
    """1 to 5 stars; None for unrated (0) and rejected (-1) images and for what is no rating."""
    for text in (*stated.get(_RATING, ()), *([exif_rating] if exif_rating else ())):
        if (stars := _number(text)) is not None and stars.is_integer() and 1 <= stars <= 5:
            return int(stars)
    percent = next((number for text in stated.get(_PERCENT, ()) if (number := _number(text)) is not None), 0.0)
    # Windows writes 1, 25, 50, 75 and 99 for one star to five.
    return min(5, 1 + round(percent / 25)) if 1 <= percent <= 100 else None


def _number(text: str) -> float | None:
    try:
        return float(text) if len(text) <= 20 else None
    except ValueError:
        return None


def _levels(text: str, sign: str) -> tuple[str, ...]:
    return tuple(level for part in text.split(sign) if (level := _clean(part)))


def _clean(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()[:KEYWORD_CHARACTERS_MAX].strip()


class _Refused(Exception):
    """The packet is of a kind that is not parsed."""


def _parse_properties(packet: str) -> dict[str, list[str]]:
    """The texts of the known properties, elements and attributes alike; empty where the packet cannot be parsed."""
    if len(packet) > PACKET_CHARACTERS_MAX or not any(name in packet for name in _NAMES):
        return {}
    found: dict[str, list[str]] = {}
    path: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        if len(path) > _DEPTH_MAX:
            raise _Refused
        text.clear()
        for key, value in attributes.items():
            if key in _PROPERTIES:
                found.setdefault(key, []).append(value)

    def end(name: str) -> None:
        path.pop()
        owner = next((one for one in (name, *reversed(path)) if one in _PROPERTIES), None)
        value = "".join(text).strip()
        if owner is not None and value:
            found.setdefault(owner, []).append(value)
        text.clear()

    def refuse(*_: object) -> None:
        raise _Refused

    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(packet.strip("\0\ufeff \t\r\n").encode("utf-8", "replace"), True)
    except (expat.ExpatError, _Refused):
        return {}
    return found
