"""The creation date of an image is the one its file states, when a person could believe it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from indexd.image_metadata.creation_date import find_creation_date, parse_date
from indexd.image_metadata.model import ImageMetadata, RawChunk
from indexd.image_metadata.parser import parse_metadata
from indexd.image_metadata.plausible_date import EARLIEST, FUTURE_SECONDS_MAX
from indexd.image_metadata.registry import MetadataTexts
from tests.unit.image_metadata.writers import facts, jpeg, png, text, tiff, webp

NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
INFOTEXT = "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64"


@pytest.fixture(autouse=True)
def zone_of_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if sys.platform == "win32":
        pytest.skip("Windows has no tzset")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _utc(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024:01:05 12:34:56", _utc(2024, 1, 5, 11, 34, 56)),  # EXIF, in the time zone of the machine: winter
        ("2024:07:05 12:34:56", _utc(2024, 7, 5, 10, 34, 56)),  # summer time
        ("2024:01:05 12:34:56.25+05:30", _utc(2024, 1, 5, 7, 4, 56) + 0.25),
        ("2025-03-15T18:17:42.7115736Z", _utc(2025, 3, 15, 18, 17, 42) + 0.711573),
        ("2025-03-15 18:17-08:00", _utc(2025, 3, 16, 2, 17)),
        ("2025/03/15 18:17:60 UTC", _utc(2025, 3, 15, 18, 17, 59)),
        ("2024-01-05_12-34-56", _utc(2024, 1, 5, 11, 34, 56)),
        ("Tue, 14 Nov 2023 21:40:39 GMT", _utc(2023, 11, 14, 21, 40, 39)),
        ("1700000000", 1_700_000_000.0),
        ("1700000000.5", 1_700_000_000.5),
        ("1700000000250", 1_700_000_000.25),
    ],
)
def test_dates_are_read_in_every_usual_form(text: str, expected: float) -> None:
    found = parse_date(text)
    assert found is not None
    assert found.start == pytest.approx(expected, abs=1e-5)
    assert found.end is None


def test_a_day_is_a_period_of_the_local_time_zone() -> None:
    found = parse_date("2024-11-19")
    assert found is not None
    assert (found.start, found.end) == (_utc(2024, 11, 18, 23), _utc(2024, 11, 19, 23))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "    :  :     :  :  ",
            "0000:00:00 00:00:00",
            "2024:13:01 00:00:00",
            "2023-02-29",
            "24-01-05",
            "yesterday",
        ),
        *("05/01/2024", "9" * 400, "2024-01-05 25:00:00", "99999-01-01", "2024-01-05T12:00:00+99:99", "1e9", "nan"),
        *(
            "2024-01-05 12:34:56; rm -rf",
            "٢٠٢٤-٠١-٠٥ ٠٠:٠٠",
            "12:34:56",
            "-1700000000",
            "Mon, 99 Foo 2023 99:99:99 GMT",
        ),
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("stated", "is_taken"),
    [
        (EARLIEST - 1, False),
        (EARLIEST, True),
        (NOW + FUTURE_SECONDS_MAX, True),
        (NOW + FUTURE_SECONDS_MAX + 1, False),
    ],
)
def test_an_implausible_date_is_not_taken(stated: float, is_taken: bool) -> None:
    text = datetime.fromtimestamp(stated, UTC).strftime("%Y:%m:%d %H:%M:%S+00:00")
    texts = MetadataTexts([RawChunk("exif:DateTimeOriginal", "utf-8", text)])
    found = find_creation_date(texts, ImageMetadata(), NOW)
    assert (found.start if found else None) == (stated if is_taken else None)


def test_the_settings_of_the_generator_come_before_exif_and_a_time_before_a_day() -> None:
    chunks = [
        RawChunk("exif:DateTimeOriginal", "utf-8", "2010:05:05 10:00:00"),
        RawChunk("exif:OffsetTimeOriginal", "utf-8", "+00:00"),
    ]

    def read(setting: str) -> ImageMetadata:
        return parse_metadata([RawChunk("png:parameters", "utf-8", f"{INFOTEXT}{setting}"), *chunks])

    created = read(", Created Date: 2025-03-15T18:17:42Z")
    assert (created.created_at, created.created_from) == (_utc(2025, 3, 15, 18, 17, 42), "png:parameters Created Date")
    for setting in ("", ", Created Date: 2025-03-15", ", Created Date: 0001-01-01T00:00:00Z"):
        created = read(setting)
        assert (created.created_at, created.created_from) == (_utc(2010, 5, 5, 10), "exif:DateTimeOriginal"), setting


@pytest.mark.parametrize(
    ("chunk", "source"),
    [
        (RawChunk("exif:DateTimeDigitized", "utf-8", "2024:01:05 12:34:56"), "exif:DateTimeDigitized"),
        (RawChunk("png:Creation Time", "utf-8", "Fri, 05 Jan 2024 12:34:56 +0100"), "png:Creation Time"),
        (RawChunk("xmp", "utf-8", '<rdf:Description xmp:CreateDate="2024-01-05T12:34:56+01:00"/>'), "xmp:CreateDate"),
        (
            RawChunk("xmp", "utf-8", "<photoshop:DateCreated>2024-01-05T12:34:56</photoshop:DateCreated>"),
            "photoshop:DateCreated",
        ),
        (RawChunk("png:invokeai_metadata", "utf-8", '{"app_version": "5", "positive_prompt": "a", "seed": 1, '
                  '"created_at": "2024-01-05 12:34:56"}'), "png:invokeai_metadata created_at"),
        (RawChunk("png:parameters", "utf-8", '{"base_model": "m", "prompt": "a", "created_at": 1704454496}'),
         "png:parameters created_at"),
    ],
)  # fmt: skip
def test_each_place_that_states_a_date_is_named(chunk: RawChunk, source: str) -> None:
    found = parse_metadata([chunk])
    assert (found.created_at, found.created_from) == (_utc(2024, 1, 5, 11, 34, 56), source)


@pytest.mark.parametrize("key", ["png:date:create", "png:date:modify", "png:Software", "exif:DateTime"])
def test_the_dates_of_a_copy_or_a_change_are_not_the_creation(key: str) -> None:
    assert parse_metadata([RawChunk(key, "utf-8", "2024-01-05T12:34:56+01:00")]).created_at is None


def test_every_container_hands_on_the_dates_of_exif() -> None:
    block = tiff({}, {0x9003: b"2024:01:05 12:34:56\0", 0x9011: b"-03:00\0", 0x9291: b"250\0"}, kinds={0x9003: 2})
    for image in (jpeg(block), webp(block)):
        found = facts(image).metadata
        assert (found.created_at, found.created_from) == (
            _utc(2024, 1, 5, 15, 34, 56) + 0.25,
            "exif:DateTimeOriginal",
        )
    found = facts(png(text("Creation Time", "2024-01-05T12:34:56Z"))).metadata
    assert (found.created_at, found.created_from) == (_utc(2024, 1, 5, 12, 34, 56), "png:Creation Time")


def test_the_date_of_swarmui_is_a_day() -> None:
    stated = '{"sui_image_params": {"prompt": "a", "seed": 1}, "sui_extra_data": {"date": "2024-11-19"}}'
    found = facts(png(text("parameters", stated))).metadata
    assert (found.created_at, found.created_until) == (_utc(2024, 11, 18, 23), _utc(2024, 11, 19, 23))
    assert found.created_from == "png:parameters date"
