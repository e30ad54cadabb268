"""Contact sheets of search hits."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as Pixels

from indexd.errors import IndexdError
from indexd.images.image_grid import GAP_PX
from indexd.search.hit_contact_sheet import CAPTION_PX, CELL_PX, hit_caption, write_hit_contact_sheet
from indexd_schemas.api.output import ImageSummary, SearchHit


def hit(rank: int, path: Path | None, *, score: float | None = 1.5, rating: int | None = None) -> SearchHit:
    image = ImageSummary(
        id=rank,
        hash=f"{rank:064x}",
        path=str(path) if path else None,
        format="PNG",
        width=1,
        height=1,
        added_at=0,
        rating=rating,
    )
    return SearchHit(rank=rank, score=score, image=image)


def no_thumbnail(_content: str) -> Path:
    return Path("/nowhere.webp")


def test_every_hit_has_a_cell_with_its_image(tmp_path: Path) -> None:
    colours = ["red", "lime", "blue", "white", "yellow"]
    hits = []
    for rank, colour in enumerate(colours, 1):
        Pixels.new("RGB", (300, 200), colour).save(tmp_path / f"{rank}.png")
        hits.append(hit(rank, tmp_path / f"{rank}.png"))
    target = tmp_path / "sheet.png"
    assert write_hit_contact_sheet(hits, target, no_thumbnail) == 5
    with Pixels.open(target) as sheet:
        step_x, step_y = CELL_PX + GAP_PX, CELL_PX + CAPTION_PX + GAP_PX
        assert sheet.size == (GAP_PX + 3 * step_x, GAP_PX + 2 * step_y)
        for place, colour in enumerate(colours):
            middle = (GAP_PX + place % 3 * step_x + CELL_PX // 2, GAP_PX + place // 3 * step_y + CELL_PX // 2)
            assert sheet.getpixel(middle) == Pixels.new("RGB", (1, 1), colour).getpixel((0, 0))
        captions = sheet.crop((GAP_PX, GAP_PX + CELL_PX, GAP_PX + CELL_PX, GAP_PX + CELL_PX + CAPTION_PX))
        assert len(captions.getcolors(100_000) or []) > 2
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "1.png",
        "2.png",
        "3.png",
        "4.png",
        "5.png",
        "sheet.png",
    ]


def test_an_existing_thumbnail_is_used(tmp_path: Path) -> None:
    Pixels.new("RGB", (50, 50), "red").save(tmp_path / "small.webp", lossless=True)
    write_hit_contact_sheet([hit(1, tmp_path / "gone.png")], tmp_path / "sheet.png", lambda _: tmp_path / "small.webp")
    with Pixels.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((GAP_PX + CELL_PX // 2, GAP_PX + CELL_PX // 2)) == (255, 0, 0)


def test_broken_and_missing_images_keep_their_cell(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (tmp_path / "text.png").write_text("%!PS not a picture")
    hits = [hit(1, tmp_path / "broken.png"), hit(2, None), hit(3, tmp_path / "text.png")]
    assert write_hit_contact_sheet(hits, tmp_path / "sheet.png", no_thumbnail) == 3


def test_a_name_with_a_line_break_is_shown_in_one_line(tmp_path: Path) -> None:
    assert write_hit_contact_sheet([hit(1, tmp_path / "two\nlines.png")], tmp_path / "sheet.png", no_thumbnail) == 1
    assert write_hit_contact_sheet([hit(1, tmp_path / "two lines.png")], tmp_path / "same.png", no_thumbnail) == 1
    with Pixels.open(tmp_path / "sheet.png") as sheet, Pixels.open(tmp_path / "same.png") as same:
        assert sheet.tobytes() == same.tobytes()


def test_captions_show_number_score_rating_and_name() -> None:
    assert hit_caption(hit(3, Path("/a/b c.png"), rating=4)) == ("3.  +1.50  4/5", "b c.png")
    assert hit_caption(hit(3, None, score=None))[0] == "3."
    assert hit_caption(hit(3, None))[1].startswith("0000")


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(IndexdError, match="cannot write the sheet"):
        write_hit_contact_sheet([hit(1, None)], tmp_path / "no folder" / "sheet.png", no_thumbnail)
    with pytest.raises(IndexdError, match="there are no images for a contact sheet"):
        write_hit_contact_sheet([], tmp_path / "sheet.png", no_thumbnail)
    assert list(tmp_path.iterdir()) == []
