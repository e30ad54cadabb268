"""The creation date that a file states: settings of the generator, EXIF, XMP and PNG text keywords.

Sources: Exif 2.32 (`DateTimeOriginal`, `DateTimeDigitized`, `OffsetTime*`), XMP Specification Part 1 (`xmp:CreateDate`),
IPTC Photo Metadata (`photoshop:DateCreated`), PNG third edition section 11.3.3 (`Creation Time`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from indexd.image_metadata.model import ImageMetadata
from indexd.image_metadata.plausible_date import is_plausible_date
from indexd.image_metadata.xmp import find_xmp_property

if TYPE_CHECKING:
    from indexd.image_metadata.registry import MetadataTexts

DATE_CHARACTERS_MAX = 64

_NAMES = frozenset(
    (
        *("createdat", "createddate", "creationdate", "creationtime", "createdate", "createtime", "datecreated"),
        *("created", "datetime", "datetimeoriginal", "date", "timestamp", "generatedat"),
    )
)
"""Names of settings and PNG keywords, in lower case without separators, whose value is the creation date."""

_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]")
_DATE = re.compile(
    r"(\d{4})([-:/.])(\d{1,2})\2(\d{1,2})"
    r"(?:(?:T|t|[ _-]+|, ?)(\d{1,2})[:.-]?(\d{2})(?:[:.-]?(\d{2})(?:[.,](\d{1,9}))?)?)?"
    r" ?(Z|UTC|GMT|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_EPOCH_SECONDS = re.compile(r"[0-9]{9,10}(?:\.[0-9]{1,9})?")
_EPOCH_MILLISECONDS = re.compile(r"[0-9]{12,13}")
_OFFSET = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})")
_EXIF_DATES = (
    ("DateTimeOriginal", "OffsetTimeOriginal", "SubSecTimeOriginal"),
    ("DateTimeDigitized", "OffsetTimeDigitized", "SubSecTimeDigitized"),
)
_XMP_DATES = (("DateTimeOriginal", "exif"), ("DateCreated", "photoshop"), ("CreateDate", "xmp"), ("CreateDate", "xap"))


@dataclass(frozen=True, slots=True)
class CreationDate:
    """A stated date: `[start, end)` in seconds since the epoch, and where it stands. `end` is None unless only a day is
    stated."""

    start: float
    end: float | None
    source: str


def find_creation_date(texts: MetadataTexts, metadata: ImageMetadata, now: float | None = None) -> CreationDate | None:
    """The first plausible date with a time of day, else the first plausible day, else None.

    A date is plausible from 1990 until one day after `now` (default: the clock). Settings of the generator come first,
    because a program may copy the EXIF block of an older photograph into a new image.
    """
    now = time.time() if now is None else now
    day: CreationDate | None = None
    for source, text in _stated_dates(texts, metadata):
        found = parse_date(text, source)
        if found is None or not is_plausible_date(found.start, now):
            continue
        if found.end is None:
            return found
        day = day or found
    return day


def parse_date(text: str, source: str = "") -> CreationDate | None:
    """A date in the form of ISO 8601, EXIF, RFC 2822 or as seconds or milliseconds since the epoch; else None.

    A date without a time zone is in the time zone of this machine.
    """
    text = text.strip("\0 \t\r\n\"'")
    if not text or len(text) > DATE_CHARACTERS_MAX:
        return None
    if _EPOCH_SECONDS.fullmatch(text):
        return CreationDate(float(text), None, source)
    if _EPOCH_MILLISECONDS.fullmatch(text):
        return CreationDate(int(text) / 1000, None, source)
    try:
        match = _DATE.fullmatch(text)
        if match is None:
            return CreationDate(parsedate_to_datetime(text).timestamp(), None, source)
        year, month, day = int(match[1]), int(match[3]), int(match[4])
        if match[5] is None:
            first = date(year, month, day)
            return CreationDate(_start_of(first), _start_of(first + timedelta(days=1)), source)
        microsecond = int((match[8] or "0")[:6].ljust(6, "0"))
        second = min(int(match[7] or 0), 59)  # a leap second is stated as 60
        zone = _parse_zone(match[9])
        made = datetime(year, month, day, int(match[5]), int(match[6]), second, microsecond, zone)
        return CreationDate(made.timestamp(), None, source)
    except (ValueError, TypeError, OverflowError, OSError, IndexError):
        return None  # there is no such day, or the platform's calendar does not reach it


def _stated_dates(texts: MetadataTexts, metadata: ImageMetadata) -> Iterator[tuple[str, str]]:
    """(where it stands, text) of every date, in the order of preference."""
    for name, value in metadata.extras:
        if _normalized(name) in _NAMES:
            yield f"{metadata.source or 'metadata'} {name}"[:200], value
    for name, offset, fraction in _EXIF_DATES:
        if stated := texts.get(f"exif:{name}"):
            zone = (texts.get(f"exif:{offset}") or "").strip("\0 ")
            digits = (texts.get(f"exif:{fraction}") or "").strip("\0 ")
            parts = (stated.strip("\0 "), f".{digits}" if digits.isdecimal() else "")
            yield f"exif:{name}", "".join((*parts, zone if _OFFSET.fullmatch(zone) else ""))
    packet = texts.get("xmp")
    if packet and "Date" in packet:
        for name, prefix in _XMP_DATES:
            if stated := find_xmp_property(packet, name, (prefix,)):
                yield f"{prefix}:{name}", stated
    for key in texts.keys:
        container, _, name = key.partition(":")
        if container == "png" and _normalized(name) in _NAMES:
            yield key, texts.get(key) or ""


def _start_of(day: date) -> float:
    return datetime(day.year, day.month, day.day).astimezone().timestamp()


def _normalized(name: str) -> str:
    return _NOT_ALPHANUMERIC.sub("", name[:DATE_CHARACTERS_MAX].lower())


def _parse_zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    match = _OFFSET.fullmatch(text)
    if match is None:
        return UTC
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)
