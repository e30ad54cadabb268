"""`GET /v1/events`: which changes it reports, and how it resumes, keeps alive and ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.api.client import DaemonAddress, RemoteOperations
from indexd.api.connect import daemon_address, find_daemon
from indexd.api.context import DaemonContext
from indexd.api.event_buffer import BUFFERED_EVENTS, MAX_IDS, EventBuffer
from indexd.api.event_stream import StreamedEvent
from indexd.api.http.server import ApiServer
from indexd.api.http.sse import SseStreams
from indexd.api.local import LocalOperations
from indexd.api.operations.annotation import rate
from indexd.api.operations.status import events
from indexd.config import Config, read_config
from indexd.errors import DaemonNotRunning, IndexdError
from indexd.image_metadata.model import ImageMetadata
from indexd.store.records import StoreChanges
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.requests import EventsRequest, RateRequest
from indexd_schemas.api.responses import ChangeEvent
from tests.support.sample_library import SampleLibrary, make_library
from tests.unit.api.test_local_operations import Desk, Watching, Working


@pytest.fixture
def config(short_home: Path) -> Config:
    return read_config(short_home)


@pytest.fixture
def library(config: Config) -> Iterator[SampleLibrary]:
    with SqliteStore.open(config.paths.index) as store:
        yield make_library(store, config.paths.home / "pictures", images_per_subject=1)


@pytest.fixture
def buffer(library: SampleLibrary) -> EventBuffer:
    return EventBuffer(library.store.watch_changes)


@pytest.fixture
def server(config: Config, library: SampleLibrary, buffer: EventBuffer) -> Iterator[ApiServer]:
    daemon = DaemonContext(Watching(b"/x"), Working(), Desk(library.store), 1.0, events=buffer)
    server = ApiServer(config, LocalOperations(config, library.store, daemon))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(config: Config, server: ApiServer) -> RemoteOperations:
    found = find_daemon(config)
    assert found is not None
    return found


def kinds(streamed: list[StreamedEvent]) -> list[tuple[str, list[int]]]:
    return [(one.event.kind, one.event.ids) for one in streamed]


def test_every_kind_of_change_is_an_event(library: SampleLibrary, buffer: EventBuffer) -> None:
    store, stream = library.store, buffer.open(None)
    first, second = sorted(library.ids.values())[:2]
    assert stream.read() == []
    new = library.add("new.png", ImageMetadata(prompt="p"))
    assert ("image.added", [new]) in kinds(stream.read())
    store.annotations.rate([first, second], 5)
    assert kinds(stream.read()) == [("annotation.changed", [first, second])]
    store.annotations.tag([second], ["keep"], [])
    store.annotations.note([first], "words", append=False)
    assert kinds(stream.read()) == [("annotation.changed", [second]), ("annotation.changed", [first])]
    store.files.mark_missing(library.root_id, [b"new.png"], 5.0)
    assert kinds(stream.read()) == [("image.changed", [new])]
    job = Desk(store).submit(b"kind: txt2img\n", "one.yaml")
    store.jobs.cancel(job.id)
    assert kinds(stream.read()) == [("job.changed", [job.id])] * 2
    store.events.add("offline", "a folder went away")
    assert [one.event for one in stream.read()] == [ChangeEvent(kind="status.changed", text="a folder went away")]
    store.forgetter.forget(store.forgetter.missing_files(time.time()), [new], with_annotations=True)
    assert kinds(stream.read())[-1] == ("image.removed", [new])


def test_a_change_that_is_rolled_back_is_no_event(library: SampleLibrary, buffer: EventBuffer) -> None:
    stream = buffer.open(None)
    with pytest.raises(ZeroDivisionError), library.store._database.write() as connection:
        connection.execute("INSERT INTO rating (image_id, value, rated_at) VALUES (1, 5, 0)")
        raise ZeroDivisionError
    assert stream.read() == []


def test_a_large_change_is_split(buffer: EventBuffer) -> None:
    stream = buffer.open(None)
    buffer.record(StoreChanges(annotated_ids=set(range(MAX_IDS + 1))))
    assert [len(one.event.ids) for one in stream.read()] == [MAX_IDS, 1]


def test_a_stream_resumes_after_the_last_event_it_had(buffer: EventBuffer) -> None:
    stream = buffer.open(None)
    for number in (1, 2, 3):
        buffer.record(StoreChanges(job_ids={number}))
    one, *rest = stream.read()
    assert buffer.open(one.id).read() == rest
    assert buffer.open(rest[-1].id).read() == []
    assert kinds(buffer.open("another-1").read()) == [("reset", [])]
    assert kinds(buffer.open(one.id.replace("-1", "-99")).read()) == [("reset", [])]


def test_a_reader_that_falls_behind_is_told_to_read_everything_again(buffer: EventBuffer) -> None:
    stream = buffer.open(None)
    for number in range(BUFFERED_EVENTS + 1):
        buffer.record(StoreChanges(job_ids={number}))
    assert kinds(stream.read()) == [("reset", [])]
    assert stream.read() == []
    buffer.record(StoreChanges(job_ids={1}))
    assert kinds(stream.read()) == [("job.changed", [1])]


def test_events_arrive_over_http_and_resume(client: RemoteOperations, library: SampleLibrary) -> None:
    image_id = min(library.ids.values())
    stream = client.call(events, EventsRequest())
    arriving = iter(stream)
    client.call(rate, RateRequest(targets=(f"id:{image_id}",), rating=4))
    first = next(arriving)
    assert first.event == ChangeEvent(kind="annotation.changed", ids=[image_id])
    stream.close()
    client.call(rate, RateRequest(targets=(f"id:{image_id}",), rating=0))
    resumed = client.call(events, EventsRequest(last_event_id=first.id))
    assert next(iter(resumed)).event == first.event
    resumed.close()


def _request(address: DaemonAddress, headers: bytes = b"") -> bytes:
    if address.token is not None:
        headers += b"Authorization: Bearer " + address.token.encode() + b"\r\n"
    return b"GET /v1/events HTTP/1.1\r\nHost: " + address.host.encode() + b"\r\n" + headers + b"\r\n"


def test_the_wire_format_is_that_of_event_source(config: Config, server: ApiServer, library: SampleLibrary) -> None:
    address = daemon_address(config)
    assert address is not None
    with address.connect() as connection:
        connection.settimeout(10)
        connection.sendall(_request(address, b"Last-Event-ID: lost-1\r\n"))
        raw = read_until(connection, b"}\n\n")
    assert b"content-type: text/event-stream" in raw.lower()
    assert b"retry: 2000\n\n" in raw
    assert b'event: reset\ndata: {"schema_version":1,"kind":"reset","ids":[]}\n\n' in raw


def test_a_quiet_stream_sends_heartbeats(config: Config, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SseStreams, "heartbeat_seconds", 0.01)
    address = daemon_address(config)
    assert address is not None
    with address.connect() as connection:
        connection.settimeout(10)
        connection.sendall(_request(address))
        assert read_until(connection, b": heartbeat\n\n")


def test_stopping_the_server_ends_the_streams_at_once(client: RemoteOperations, server: ApiServer) -> None:
    stream = client.call(events, EventsRequest())
    ended = threading.Event()

    def read_to_the_end() -> None:
        for _ in stream:
            pass
        ended.set()

    reader = threading.Thread(target=read_to_the_end)
    reader.start()
    server.stop()
    reader.join(20)
    assert ended.is_set()


def test_the_number_of_streams_is_limited(client: RemoteOperations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexd.api.http.sse.MAX_STREAMS", 1)
    stream = client.call(events, EventsRequest())
    with pytest.raises(IndexdError, match="too many event streams"):
        client.call(events, EventsRequest())
    stream.close()


def test_a_local_stream_waits_for_events_and_can_be_closed(buffer: EventBuffer) -> None:
    stream = buffer.open(None)
    received: list[StreamedEvent] = []

    def read_one() -> None:
        for event in stream:
            received.append(event)
            stream.close()

    reader = threading.Thread(target=read_one)
    reader.start()
    buffer.record(StoreChanges(job_ids={7}))
    reader.join(20)
    assert kinds(received) == [("job.changed", [7])]


def test_without_a_daemon_there_are_no_events(config: Config, library: SampleLibrary) -> None:
    with pytest.raises(DaemonNotRunning, match="indexd run"):
        LocalOperations(config, library.store).call(events, EventsRequest())


def read_until(connection: socket.socket, end: bytes) -> bytes:
    raw = b""
    while end not in raw:
        part = connection.recv(4096)
        if not part:
            break
        raw += part
    assert end in raw
    return raw
