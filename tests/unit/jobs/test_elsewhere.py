"""What a job or a question names elsewhere: addresses, shares, ways out of a folder. Nothing is fetched, ever."""

from __future__ import annotations

import ast
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from indexd.errors import JobRefused, UsageError
from indexd.fs.paths import is_inside, is_unc, is_url
from indexd.search.query.image_lookup import find_image_id
from indexd.search.query.image_target import ImageTarget, parse_target, parse_target_argument
from tests.support.paths import REPOSITORY
from tests.unit.jobs.conftest import JobSetup

posix = pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
# Who speaks HTTP at all: the client of our own door, over sockets that it opens itself.
MAY_SPEAK = {"indexd/api/client.py": {"http"}, "indexd/cli/commands/models.py": {"huggingface_hub"}}
SPEAKERS = {"http", "urllib.request", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "huggingface_hub", "fsspec"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody who would be asked if anything were fetched."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def submit(setup: JobSetup, kind: str, more: str) -> None:
    setup.jobs.submit(f"kind: {kind}\nprompt: a fox\n{more}\n".encode(), "x.yaml")


def nobody_came(listener: socket.socket) -> bool:
    try:
        listener.accept()
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("start", ["http://127.0.0.1:{port}/", "HTTP://127.0.0.1:{port}/", "file://127.0.0.1:{port}/"])
def test_addresses_in_jobs_and_questions(setup: JobSetup, listener: socket.socket, start: str) -> None:
    url = start.format(port=listener.getsockname()[1]) + "x.png"
    with pytest.raises(JobRefused, match="indexd downloads nothing"):
        submit(setup, "img2img", f"input: {url}")
    with pytest.raises(JobRefused, match="no folder of this machine"):
        submit(setup, "txt2img", f"output: {{folder: '{url}'}}")
    for field in ("model", "vae"):
        with pytest.raises(JobRefused, match=field):
            submit(setup, "txt2img", f"{field}: '{url}'")
    with pytest.raises(JobRefused, match="loras"):
        submit(setup, "txt2img", f"loras: ['{url}']")
    with pytest.raises(UsageError, match="indexd downloads nothing"):
        parse_target_argument(url)
    with pytest.raises(UsageError, match="names no image"):
        parse_target(url)
    assert nobody_came(listener)


def test_a_file_address_of_this_machine_is_refused_as_well(setup: JobSetup, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    with pytest.raises(JobRefused, match="is a URL"):
        submit(setup, "img2img", f"input: file://{tmp_path}/x.png")
    with pytest.raises(JobRefused, match="is a URL"):
        submit(setup, "img2img", f"input: file:{tmp_path}/x.png")


def test_shares_are_not_looked_at(setup: JobSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []

    def isfile(path: object) -> bool:
        looked.append(path)
        return False

    monkeypatch.setattr(os.path, "isfile", isfile)
    with pytest.raises(JobRefused, match="on another machine"):
        submit(setup, "img2img", r"input: '\\attacker\share\x.png'")
    if os.name != "nt":
        with pytest.raises(JobRefused, match="no folder of this machine"):
            submit(setup, "txt2img", r"output: {folder: '\\attacker\share'}")
    assert find_image_id(setup.store, ImageTarget(path=rb"\\attacker\share\x.png")) is None
    assert looked == []
    if os.name != "nt":
        with pytest.raises(UsageError, match="names no image"):
            parse_target("path:%5C%5Cattacker%5Cshare%5Cx.png")


@pytest.mark.parametrize("way", ["../secret.png", "a/../../secret.png", "..\\secret.png"])
def test_no_way_up(setup: JobSetup, way: str) -> None:
    with pytest.raises(JobRefused, match="no path that can be used"):
        submit(setup, "img2img", f"input: '{way}'")
    with pytest.raises(JobRefused, match=r"`\.\.` is not used"):
        submit(setup, "txt2img", f"output: {{folder: '{way}'}}")


@posix
def test_no_way_out_by_a_link(setup: JobSetup, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (64, 64)).save(outside / "x.png")
    (setup.inbox / "way").symlink_to(outside)
    (setup.inbox / "x.png").symlink_to(outside / "x.png")
    (setup.output / "way").symlink_to(outside)
    for name in ("way/x.png", "x.png"):
        with pytest.raises(JobRefused, match="leads out of the inbox by a link"):
            submit(setup, "img2img", f"input: {name}")
    for name in ("way", "way/deeper", "./way"):
        with pytest.raises(JobRefused, match=r"leads out of .* by a link"):
            submit(setup, "txt2img", f"output: {{folder: {name}}}")
    assert [path.name for path in outside.iterdir()] == ["x.png"]
    # Named as what they are, both may be used: it is the user's machine.
    submit(setup, "img2img", f"input: {outside}/x.png")
    submit(setup, "txt2img", f"output: {{folder: {outside}}}")


@posix
def test_no_way_out_for_any_picture_that_a_job_names(setup: JobSetup, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    Image.new("RGB", (64, 64)).save(setup.inbox / "in.png")
    (setup.inbox / "some").mkdir()
    (setup.inbox / "some" / "x.png").symlink_to(tmp_path / "x.png")
    for name, words in (
        ("some/x.png", "leads out of"),
        ("http://127.0.0.1/x.png", "is a URL"),
        ("../x.png", "no path"),
    ):
        for kind, more in (
            ("img2img", f"input: [in.png, '{name}']"),
            ("img2img", f"input: {{similar: '{name}'}}"),
            ("upscale", f"upscale: 4x-sharp\ninput: '{name}'"),
            ("refine", f"refine: {{}}\ninput: '{name}'"),
            ("regenerate", f"input: '{name}'"),
            ("inpaint", f"input: in.png\nmask: '{name}'"),
            ("img2img", f"input: in.png\ncontrol: [{{type: canny, image: '{name}'}}]"),
            ("img2img", f"input: in.png\nreference: ['{name}']"),
        ):
            with pytest.raises(JobRefused, match=words):
                submit(setup, kind, more)
    with pytest.raises(JobRefused, match=r"'x\.png' leads out of the inbox by a link"):
        submit(setup, "img2img", "input: {folder: some}")


@posix
def test_an_inbox_that_is_itself_a_link_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "disk" / "inbox").mkdir(parents=True)
    (tmp_path / "inbox").symlink_to(tmp_path / "disk" / "inbox")
    assert is_inside(tmp_path / "inbox", tmp_path / "inbox" / "x.png")
    assert is_inside(tmp_path / "inbox", tmp_path / "inbox")
    assert not is_inside(tmp_path / "inbox", tmp_path / "disk" / "inbox2" / "x.png")
    assert is_inside("/", "/etc")


@pytest.mark.parametrize("text", ["c:/x.png", "C:\\x.png", "a: b", "pictures/file.png", "~/x", "x://"[:2], "fox, http"])
def test_paths_are_no_addresses(text: str) -> None:
    assert not is_url(text)
    assert not is_unc(text)


def test_nobody_but_these_speaks_to_the_net() -> None:
    for folder in ("indexd", "handlers", "schemas"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            name = file.relative_to(REPOSITORY).as_posix()
            imported: set[str] = set()
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            spoken = {s for s in SPEAKERS for one in imported if one == s or one.startswith(f"{s}.")}
            assert spoken <= MAY_SPEAK.get(name, set()), name
