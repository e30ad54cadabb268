"""XMP sidecars: what stands in them, and whose they are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from indexd.images.xmp_sidecar_writer import (
    is_written_by_indexd,
    render_xmp_sidecar,
    write_xmp_sidecar,
    xmp_sidecar_path,
)

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
}
RATING = "{http://ns.adobe.com/xap/1.0/}Rating"


def read(content: bytes) -> tuple[str | None, list[str | None], list[str | None], str | None]:
    described = ElementTree.fromstring(content).find(".//rdf:Description", SPACES)
    assert described is not None

    def words(name: str) -> list[str | None]:
        return [item.text for item in described.findall(f"{name}/rdf:Bag/rdf:li", SPACES)]

    return (
        described.get(RATING),
        words("dc:subject"),
        words("lr:hierarchicalSubject"),
        described.findtext("dc:description/rdf:Alt/rdf:li", None, SPACES),
    )


def test_what_stands_in_one() -> None:
    content = render_xmp_sidecar(4, ["style/anime", "style/Öl & <b>", "a|b"], 'said "x" \x00\x0b & y\n\ud800')
    assert read(content) == (
        "4",
        ["a|b", "style", "anime", "Öl & <b>"],
        ["a¦b", "style|anime", "style|Öl & <b>"],
        'said "x"  & y\n?',
    )
    assert is_written_by_indexd(content)
    assert read(render_xmp_sidecar(None, [], None)) == (None, [], [], None)


def test_names_of_sidecars() -> None:
    assert xmp_sidecar_path(b"/a/x.y.png", "full") == b"/a/x.y.png.xmp"
    assert xmp_sidecar_path(b"/a/x.y.png", "stem") == b"/a/x.y.xmp"


def test_ours_is_renewed_and_anothers_is_left_as_it_is(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "x.png.xmp")
    first, second = render_xmp_sidecar(1, [], None), render_xmp_sidecar(2, ["a"], None)
    assert [write_xmp_sidecar(path, content) for content in (first, first, second)] == [
        "written",
        "unchanged",
        "written",
    ]
    target = tmp_path / "x.png.xmp"
    assert target.read_bytes() == second
    # Another program adds its own to ours: from then on it is not ours to write over.
    target.write_bytes(second.replace(b"<dc:subject>", b"<dc:creator/><dc:subject>"))
    changed = target.read_bytes()
    assert write_xmp_sidecar(path, first) == "foreign"
    assert target.read_bytes() == changed
    target.write_bytes(b"")
    assert write_xmp_sidecar(path, first) == "foreign"
    assert os.listdir(tmp_path) == ["x.png.xmp"]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
def test_a_link_or_a_pipe_in_its_place_is_foreign(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no named pipes in folders")
    (tmp_path / "real").write_text("precious")
    (tmp_path / "link.xmp").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe.xmp")
    (tmp_path / "folder.xmp").mkdir()
    for name in ("link.xmp", "pipe.xmp", "folder.xmp"):
        assert write_xmp_sidecar(os.fsencode(tmp_path / name), render_xmp_sidecar(1, [], None)) == "foreign"
    assert (tmp_path / "real").read_text() == "precious"


def test_one_that_appears_meanwhile_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.xmp"
    real_link = os.link

    def late(source: bytes, target: bytes) -> None:
        path.write_text("theirs")
        real_link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert write_xmp_sidecar(os.fsencode(path), render_xmp_sidecar(1, [], None)) == "foreign"
    assert path.read_text() == "theirs"
