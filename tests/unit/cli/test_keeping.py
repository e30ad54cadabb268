"""`note`, bulk `rate` and `tag`, `export`, `import`, `relocate`, `forget` as a person says them, without a daemon."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from indexd.config import read_config
from indexd.store.sqlite.store import SqliteStore
from tests.support.sample_library import SampleLibrary
from tests.unit.cli.conftest import Indexd


def test_a_note_is_written_shown_appended_to_and_cleared(indexd: Indexd, library: SampleLibrary) -> None:
    path = library.path("cats/cat-0.png")
    assert indexd("note", path).code == 3
    assert indexd("note", path, "for the cover").out == "1 changed\n"
    assert indexd("note", path, "--append", "second line").code == 0
    assert indexd("note", path).out == "for the cover\nsecond line\n"
    assert indexd("query", "note:cover", "--paths").out == path + "\n"
    assert indexd("note", path, "nowhere.png", "both").code == 5
    assert indexd("note", "--clear", path).code == 0
    assert indexd("note", path).code == 3
    for wrong in ([], [path, ""], [path, " "], ["--append", path], ["--append", "--clear", path], ["--clear"]):
        assert indexd("note", *wrong).code == 2, wrong


def test_marking_what_a_query_finds(indexd: Indexd, library: SampleLibrary) -> None:
    assert indexd("tag", "--query", "model:ponyXL", "+style/anime", "-bad", "--dry-run").out.startswith(
        "4 images match"
    )
    assert indexd("query", "tag:style").code == 3
    assert indexd("tag", "--query", "model:ponyXL", "+style/anime", "--json").json["changed"] == 4
    assert indexd("rate", "--query", "tag:style", "--query", "steps:20", "3").out == "2 changed\n"
    assert indexd("note", "--query", "rating:3", "look again").out == "2 changed\n"
    assert indexd("tag", "--query", "tag:style", "-style/*").code == 0
    assert indexd("query", "tag:style").code == 3
    assert indexd("rate", "--query", "model:nobody", "3").code == 3


def test_many_are_marked_only_when_that_was_confirmed(
    indexd: Indexd, library: SampleLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexd.cli.support.annotation_commands.CONFIRM_ABOVE", 3)
    refused = indexd("rate", "--query", "has:prompt", "5")
    assert refused.code == 2
    assert "8 images" in refused.err
    assert "--yes" in refused.err
    assert indexd("query", "rating:5").code == 3
    assert indexd("rate", "--query", "has:prompt", "5", "--yes").out == "8 changed\n"


@pytest.mark.parametrize(
    "words",
    [
        ["rate", "--query", "", "5"],
        ["rate", "--query", "nonsense", "5"],
        ["rate", "--query", "rating:5", "a.png", "5"],
        ["rate", "5"],
        ["rate", "a.png", "5", "--dry-run"],
        ["tag", "--query", "rating:5"],
        ["tag", "--query", "rating:5", "a.png", "+x"],
        ["tag", "a.png", "+a*"],
        ["tag", "a.png", "+/"],
        ["note", "--query", "rating:5"],
        ["forget", "--older-than", "soon"],
        ["forget", "--older-than", "never"],
        ["forget", "--offline"],
        ["relocate", "--from", "/a"],
        ["relocate", "--from", "/a", "--to", "/a/"],
        ["relocate", "--from", "/nothing here", "--to", "/b"],
        ["export", "--json"],
        ["export", "--xmp", "-o", "x"],
        ["import", "/no/such/file"],
    ],
)
def test_said_wrongly(indexd: Indexd, library: SampleLibrary, words: list[str]) -> None:
    wrong = indexd(*words)
    assert wrong.code == 2, wrong
    assert "Traceback" not in wrong.err


def test_everything_goes_out_and_comes_in_elsewhere(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    indexd("rate", library.path("cats/cat-0.png"), "5")
    indexd("tag", library.path("cats/cat-1.png"), "+a/b")
    indexd("note", library.path("dogs/dog-0.png"), "ä")
    file = home / "marks.jsonl"
    assert indexd("export", "-o", str(file)).err.startswith("3 images")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert lines[0] == {"kind": "indexd-annotations", "schema_version": 1}
    assert [line["name"] for line in lines[1:]] == ["cats/cat-0.png", "cats/cat-1.png", "dogs/dog-0.png"]
    assert indexd("export", "-o", str(file)).code == 2
    assert indexd("export", "-o", str(file), "--force", "--query", "rating:5").code == 0
    assert len(file.read_text("utf-8").splitlines()) == 2
    indexd("export", "-o", str(file), "--force")
    assert indexd("import", str(file), "--json").json | {"schema_version": 1} == {
        "schema_version": 1, "records": 3, "changed": 0, "same": 3, "pending": 0, "dry_run": False,
    }  # fmt: skip

    indexd("rate", library.path("cats/cat-0.png"), "2")
    assert indexd("import", str(file)).out == "3 images read, 0 changed\n"
    assert indexd("import", str(file), "--prefer-file", "--dry-run").out == "3 images read, 1 would be changed\n"
    assert indexd("show", library.path("cats/cat-0.png"), "--json").json["image"]["rating"] == 2
    assert indexd("import", str(file), "--prefer-file").code == 0
    assert indexd("show", library.path("cats/cat-0.png"), "--json").json["image"]["rating"] == 5

    stranger = {"hash": "ab" * 32, "rating": 4, "tags": ["far/away"]}
    file.write_text(json.dumps(stranger), "utf-8")
    assert (
        indexd("import", str(file)).out
        == "1 images read, 1 changed; 1 are not in the index, and their annotations stay pending\n"
    )
    assert indexd("import", str(file), "--json").json["changed"] == 0
    assert '"far/away"' in indexd("export").out


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "line 2 is no line"),
        (b"[]", "line 2"),
        (b"\xff", "line 2 is no line"),
        (b"[" * 100_000, "line 2 is no line"),
        (b'{"hash": "ab", "rating": 4}', "line 2: hash"),
        (b'{"hash": "' + b"ab" * 32 + b'", "rating": 6}', "line 2: rating"),
        (b'{"hash": "' + b"ab" * 32 + b'", "rated_at": NaN}', "line 2: rated_at"),
        (b'{"hash": "' + b"ab" * 32 + b'", "stars": 4}', "line 2: stars"),
        (b'{"kind": "indexd-annotations", "schema_version": 2}', "line 2: schema_version"),
        (b'{"hash": "' + b"ab" * 32 + b'", "note": "' + b"x" * (1 << 20) + b'"}', "longer than 1 MiB"),
    ],
)
def test_a_wrong_line_takes_nothing_in(
    indexd: Indexd, library: SampleLibrary, home: Path, line: bytes, problem: str
) -> None:
    file = home / "marks.jsonl"
    file.write_bytes(b'{"hash": "' + b"cd" * 32 + b'", "rating": 5}\n' + line + b"\n")
    failed = indexd("import", str(file))
    assert failed.code == 1
    assert problem in failed.err
    assert failed.err.count("\n") == 1
    assert indexd("export").code == 3


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
    ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" xmp:Rating="{}"><dc:subject>'
    "<rdf:Bag><rdf:li>lake</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def test_import_takes_sidecars_of_other_programs(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    full, stem = Path(library.path("cats/cat-0.png")), Path(library.path("cats/cat-1.png"))
    Path(f"{full}.xmp").write_text(XMP.format(4), "utf-8")
    stem.with_suffix(".xmp").write_text(XMP.format(3), "utf-8")
    full.with_name("gone.png.xmp").write_text(XMP.format(2), "utf-8")
    (full.with_name("cat-2.png.xmp")).write_text("<html>", "utf-8")
    indexd("rate", str(stem), "1")
    taken = indexd("import", str(full.parent))
    assert taken.out == "2 images read, 2 changed\n"
    assert "gone.png.xmp: no image lies beside it" in taken.err
    assert "cat-2.png.xmp: it states neither a rating nor keywords" in taken.err
    shown = [indexd("show", str(path), "--json").json["image"] for path in (full, stem)]
    assert [(image["rating"], image["tags"]) for image in shown] == [(4, ["lake"]), (1, ["lake"])]
    assert indexd("import", str(stem.with_suffix(".xmp")), "--prefer-file").out == "1 images read, 1 changed\n"
    assert indexd("import", f"{full}.xmp", str(stem.with_suffix(".xmp"))).out == "2 images read, 0 changed\n"


def test_our_own_sidecars_are_not_imported(indexd: Indexd, library: SampleLibrary) -> None:
    path = library.path("cats/cat-0.png")
    indexd("rate", path, "5")
    indexd("export", "--xmp")
    indexd("rate", path, "2")
    imported = indexd("import", f"{path}.xmp", "--prefer-file")
    assert imported.out == "0 images read, 0 changed\n"
    assert "indexd wrote it" in imported.err


@pytest.mark.parametrize("name", ["none.xmp", "houses"])
def test_an_import_without_sidecars_is_refused(indexd: Indexd, library: SampleLibrary, name: str) -> None:
    assert indexd("import", str(library.root / name)).code == 2


def test_sidecars(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    path = Path(library.path("cats/cat-0.png"))
    before = path.read_bytes()
    assert indexd("export", "--xmp").code == 3
    indexd("rate", str(path), "5")
    indexd("tag", str(path), "+style/anime")
    assert indexd("export", "--xmp").out == "1 sidecars written, 0 were up to date\n"
    sidecar = path.with_name("cat-0.png.xmp")
    assert b'xmp:Rating="5"' in sidecar.read_bytes()
    assert b"style|anime" in sidecar.read_bytes()
    assert indexd("export", "--xmp", "--json").json["unchanged"] == 1
    sidecar.write_text("<theirs/>")
    foreign = indexd("export", "--xmp")
    assert foreign.code == 5
    assert str(sidecar) in foreign.err
    assert sidecar.read_text() == "<theirs/>"
    assert indexd("export", "--xmp", "--xmp-name", "stem").code == 0
    assert path.with_suffix(".xmp").exists()
    assert path.read_bytes() == before


def test_two_pictures_of_one_stem_do_not_share_a_sidecar(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    with SqliteStore.open(read_config(home).paths.index) as store:
        again = SampleLibrary(store, library.root, library.root_id)
        ids = [again.add("x.png"), again.add("x.webp")]
        store.annotations.rate(ids, 4)
    stem = indexd("export", "--xmp", "--xmp-name", "stem", "--query", "path:x.", "--json")
    assert stem.code == 5
    assert (stem.json["written"], len(stem.json["failed"])) == (1, 1)
    assert indexd("export", "--xmp", "--query", "path:x.", "--json").json["written"] == 2


def test_relocate(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    new = home / "moved"
    library.root.rename(new)
    would = indexd("relocate", "--from", str(library.root), "--to", str(new), "--dry-run", "--json").json
    assert (would["files"], would["dry_run"]) == (8, True)
    assert indexd("relocate", "--from", str(library.root), "--to", str(new)).code == 0
    assert indexd("show", str(new / "cats" / "cat-0.png")).code == 0
    assert indexd("relocate", "--from", str(new), "--to", r"E:\pics").code == 0
    assert indexd("query", "seed:100", "-n", "1", "--sort", "oldest", "--paths").out.startswith("E:")


def test_forget(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    assert indexd("forget", "--yes").err == "nothing is missing\n"
    assert indexd("forget", "--yes").code == 3
    gone, there = library.path("cats/cat-0.png"), library.path("cats/cat-1.png")
    indexd("rate", gone, "5")
    os.unlink(gone)
    with SqliteStore.open(read_config(home).paths.index) as store:
        store.files.mark_missing(library.root_id, [b"cats/cat-0.png", b"cats/cat-1.png"], 5.0)
    dry = indexd("forget", "--dry-run", "--json").json
    assert (dry["files"], dry["images"], dry["annotations_kept"], dry["still_there"]) == (1, 1, 1, 1)
    assert dry["examples"] == [gone]
    assert indexd("forget").code == 2
    assert indexd("forget", "--yes", "--under", str(home / "elsewhere")).code == 3
    assert indexd("forget", "--yes", "--older-than", "36500d").code == 3
    done = indexd("forget", "--yes")
    assert done.out == "1 files and 1 images forgotten\n"
    assert "the annotations of 1" in done.err
    assert os.path.exists(there)
    assert indexd("status", "--json").json["images"] == 7


def test_forget_a_folder_that_is_gone_for_good(indexd: Indexd, library: SampleLibrary, home: Path) -> None:
    under = ["--under", str(library.root), "--offline"]
    assert indexd("forget", *under, "--dry-run").code == 3  # it is there
    shutil.rmtree(library.root)
    assert indexd("forget", "--dry-run").code == 3  # offline is not missing
    assert indexd("forget", *under, "--yes").out == "8 files and 8 images forgotten\n"
