"""Pages of long lists: no image twice and none left out, while images arrive and go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexd.api.local import LocalOperations
from indexd.api.operations.annotation import tag
from indexd.api.operations.images import query
from indexd.api.operations.jobs import list_jobs
from indexd.config import read_config
from indexd.errors import UsageError
from indexd.image_metadata.model import ImageMetadata
from indexd.store.records import NewJob
from indexd.store.sqlite.store import SqliteStore
from indexd_schemas.api.requests import JobListRequest, SearchRequest, TagRequest
from indexd_schemas.job_state import JobState
from tests.support.sample_library import SampleLibrary, make_library
from tests.unit.api.test_local_operations import Desk


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SampleLibrary]:
    with SqliteStore.open(tmp_path / "index.db") as store:
        yield make_library(store, tmp_path / "pictures", images_per_subject=5)


@pytest.fixture
def operations(library: SampleLibrary, tmp_path: Path) -> LocalOperations:
    return LocalOperations(read_config(tmp_path), library.store)


def test_pages_of_a_search_are_the_whole_answer_although_images_arrive(
    operations: LocalOperations, library: SampleLibrary
) -> None:
    whole = operations.call(query, SearchRequest(sort="newest", limit=100))
    assert whole.next is None
    ids, ranks, cursor, pages = [], [], None, 0
    while pages == 0 or cursor is not None:
        page = operations.call(query, SearchRequest(sort="newest", limit=3, cursor=cursor))
        ids += [hit.image.id for hit in page.hits]
        ranks += [hit.rank for hit in page.hits]
        cursor, pages = page.next, pages + 1
        for number in range(5):
            library.add(f"later-{pages}-{number}.png", ImageMetadata(prompt="p", created_at=1e10 + pages))
    assert ids == [hit.image.id for hit in whole.hits]
    assert ranks == list(range(1, len(ids) + 1))
    assert pages == 7


def test_no_image_is_left_out_when_earlier_ones_go(operations: LocalOperations, library: SampleLibrary) -> None:
    whole = [hit.image.id for hit in operations.call(query, SearchRequest(sort="oldest", limit=100)).hits]
    first = operations.call(query, SearchRequest(sort="oldest", limit=4))
    gone = {name.encode() for name, image_id in library.ids.items() if image_id in whole[:2]}
    library.store.files.mark_missing(library.root_id, list(gone), 5.0)
    second = operations.call(query, SearchRequest(sort="oldest", limit=4, cursor=first.next))
    assert [hit.image.id for hit in second.hits] == whole[4:8]


def test_no_image_is_left_out_when_the_last_one_of_a_page_goes(
    operations: LocalOperations, library: SampleLibrary
) -> None:
    whole = [hit.image.id for hit in operations.call(query, SearchRequest(sort="oldest", limit=100)).hits]
    first = operations.call(query, SearchRequest(sort="oldest", limit=4))
    gone = [name.encode() for name, image_id in library.ids.items() if image_id == whole[3]]
    library.store.files.mark_missing(library.root_id, gone, 5.0)
    second = operations.call(query, SearchRequest(sort="oldest", limit=4, cursor=first.next))
    assert [hit.image.id for hit in second.hits] == whole[4:8]


def test_a_cursor_of_another_search_or_list_is_refused(operations: LocalOperations, library: SampleLibrary) -> None:
    cursor = operations.call(query, SearchRequest(limit=2)).next
    for request in (
        SearchRequest(limit=2, sort="oldest", cursor=cursor),
        SearchRequest(limit=2, cursor="x"),
        SearchRequest(limit=2, cursor="ünicode"),
    ):
        with pytest.raises(UsageError, match="cursor"):
            operations.call(query, request)
    with pytest.raises(UsageError, match="cursor"):
        operations.call(list_jobs, JobListRequest(cursor=cursor))
    # Another page size is no other search.
    assert len(operations.call(query, SearchRequest(limit=5, cursor=cursor)).hits) == 5


def test_pages_of_jobs_do_not_shift_when_a_job_arrives(operations: LocalOperations, library: SampleLibrary) -> None:
    desk = Desk(library.store)
    jobs = [desk.submit(b"kind: txt2img\n", f"{number}.yaml").id for number in range(5)]
    first = operations.call(list_jobs, JobListRequest(limit=2))
    desk.submit(b"kind: txt2img\n", "later.yaml")
    second = operations.call(list_jobs, JobListRequest(limit=2, cursor=first.next))
    third = operations.call(list_jobs, JobListRequest(limit=2, cursor=second.next))
    assert [job.id for page in (first, second, third) for job in page.jobs] == jobs[::-1]
    assert third.next is None


def test_a_cursor_of_jobs_belongs_to_its_states(operations: LocalOperations, library: SampleLibrary) -> None:
    for number in range(3):
        library.store.jobs.admit(NewJob(f"j{number}", "txt2img", b"", f"k{number}", None, 0, ()))
    first = operations.call(list_jobs, JobListRequest(limit=2))
    assert first.next is not None
    assert len(operations.call(list_jobs, JobListRequest(limit=2, cursor=first.next)).jobs) == 1
    with pytest.raises(UsageError, match="not one of this list"):
        operations.call(list_jobs, JobListRequest(limit=2, cursor=first.next, states=(JobState.QUEUED,)))


def test_tagging_with_no_tag_is_refused(operations: LocalOperations, library: SampleLibrary) -> None:
    with pytest.raises(UsageError, match="no tag is named"):
        operations.call(tag, TagRequest(targets=("1",)))
