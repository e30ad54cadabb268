"""XMP sidecars: what stands in them, and whose they are."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from indexd.images.xmp_sidecar import is_ours, sidecar_path, sidecar_text, write_sidecar

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
    content = sidecar_text(4, ["style/anime", "style/Öl & <b>", "a|b"], 'said "x" \x00\x0b & y\n\ud800')
    assert read(content) == (
        "4",
        ["a|b", "style", "anime", "Öl & <b>"],
        ["a¦b", "style|anime", "style|Öl & <b>"],
        'said "x"  & y\n?',
    )
    assert is_ours(content)
    assert read(sidecar_text(None, [], None)) == (None, [], [], None)


def test_names_of_sidecars() -> None:
    assert sidecar_path(b"/a/x.y.png", "full") == b"/a/x.y.png.xmp"
    assert sidecar_path(b"/a/x.y.png", "stem") == b"/a/x.y.xmp"


def test_ours_is_renewed_and_anothers_is_left_as_it_is(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "x.png.xmp")
    first, second = sidecar_text(1, [], None), sidecar_text(2, ["a"], None)
    assert [write_sidecar(path, content) for content in (first, first, second)] == ["written", "unchanged", "written"]
    target = tmp_path / "x.png.xmp"
    assert target.read_bytes() == second
    # Another program adds its own to ours: from then on it is not ours to write over.
    target.write_bytes(second.replace(b"<dc:subject>", b"<dc:creator/><dc:subject>"))
    changed = target.read_bytes()
    assert write_sidecar(path, first) == "foreign"
    assert target.read_bytes() == changed
    target.write_bytes(b"")
    assert write_sidecar(path, first) == "foreign"
    assert os.listdir(tmp_path) == ["x.png.xmp"]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
def test_a_link_or_a_pipe_in_its_place_is_foreign(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("precious")
    (tmp_path / "link.xmp").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe.xmp")
    (tmp_path / "folder.xmp").mkdir()
    for name in ("link.xmp", "pipe.xmp", "folder.xmp"):
        assert write_sidecar(os.fsencode(tmp_path / name), sidecar_text(1, [], None)) == "foreign"
    assert (tmp_path / "real").read_text() == "precious"


def test_one_that_appears_meanwhile_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.xmp"
    real_link = os.link

    def late(source: bytes, target: bytes) -> None:
        path.write_text("theirs")
        real_link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert write_sidecar(os.fsencode(path), sidecar_text(1, [], None)) == "foreign"
    assert path.read_text() == "theirs"
