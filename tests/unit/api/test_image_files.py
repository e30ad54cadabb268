"""Bytes of images over HTTP: only the indexed content is sent, whatever replaced the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.api.connect import find_daemon
from indexd.api.http.server import ApiServer
from indexd.api.image_bytes import ImageBytes
from indexd.api.local import LocalOperations
from indexd.api.operations.images import original, thumbnail
from indexd.api.operations.registry import Operation, Operations
from indexd.config import Config, read_config
from indexd.errors import NothingFound
from indexd.images.thumbnail import thumbnail_path
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.requests import ImageId
from tests.support.sample_library import SampleLibrary, make_library

NAME = "cats/cat-0.png"
posix = pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")


@pytest.fixture
def config(short_home: Path) -> Config:
    return read_config(short_home, {"roots": [{"path": str(short_home / "pictures")}]})


@pytest.fixture
def library(config: Config) -> Iterator[SampleLibrary]:
    with SqliteStore.open(config.paths.index) as store:
        yield make_library(store, config.paths.home / "pictures", images_per_subject=1)


@pytest.fixture
def client(config: Config, library: SampleLibrary) -> Iterator[Operations]:
    server = ApiServer(config, LocalOperations(config, library.store))
    server.start()
    found = find_daemon(config)
    assert found is not None
    yield found
    server.stop()


def sent(client: Operations, library: SampleLibrary, name: str = NAME) -> bytes:
    return client.call(original, ImageId(id=library.ids[name])).data


def test_a_picture_by_its_id(client: Operations, library: SampleLibrary) -> None:
    found = client.call(original, ImageId(id=library.ids[NAME]))
    assert found.data == Path(library.path(NAME)).read_bytes()
    assert (found.media_type, found.name) == ("image/png", "cat-0.png")


def test_a_thumbnail_by_its_id(client: Operations, library: SampleLibrary, config: Config) -> None:
    with pytest.raises(NothingFound, match="no thumbnail yet"):
        client.call(thumbnail, ImageId(id=library.ids[NAME]))
    content_hash = library.store.images.content_hashes([library.ids[NAME]])[library.ids[NAME]]
    path = thumbnail_path(config.paths.thumbnails, content_hash)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"webp")
    assert client.call(thumbnail, ImageId(id=library.ids[NAME])).data == b"webp"


@pytest.mark.parametrize("operation", [thumbnail, original])
def test_an_unknown_id_is_refused(client: Operations, operation: Operation[ImageId, ImageBytes]) -> None:
    with pytest.raises(NothingFound, match="#999"):
        client.call(operation, ImageId(id=999))


@posix
def test_a_link_out_in_the_place_of_the_file(client: Operations, library: SampleLibrary, tmp_path: Path) -> None:
    path = Path(library.path(NAME))
    (tmp_path / "copy.png").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "copy.png")
    with pytest.raises(NothingFound):
        sent(client, library)


@posix
def test_a_link_out_in_the_place_of_the_folder(client: Operations, library: SampleLibrary, tmp_path: Path) -> None:
    folder = Path(library.path(NAME)).parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    # The very bytes that were indexed: it is the place that is refused.
    assert (folder / "cat-0.png").is_file()
    with pytest.raises(NothingFound):
        sent(client, library)


def test_a_secret_in_the_place_of_the_file(client: Operations, library: SampleLibrary) -> None:
    Path(library.path(NAME)).write_bytes(b"the secret")
    with pytest.raises(NothingFound, match="indexed content"):
        sent(client, library)


def test_a_folder_that_is_not_watched_any_more(library: SampleLibrary, config: Config) -> None:
    unwatched = LocalOperations(read_config(config.paths.home), library.store)
    with pytest.raises(NothingFound):
        unwatched.call(original, ImageId(id=library.ids[NAME]))
