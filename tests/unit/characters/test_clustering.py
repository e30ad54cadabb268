"""Clusters equal the known identities at any size, and are deterministic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.support.synthetic_faces import make_faces
from indexd.characters.clustering import hdbscan_clustering as clustering
from indexd.characters.clustering.hdbscan_clustering import cluster
from indexd.characters.clustering.knn_graph import nearest_neighbours
from indexd.characters.clustering.minimum_spanning_tree import core_distances, minimum_spanning_edges
from indexd.characters.clustering.vector_file import open_vector_file, write_vector_file
from indexd.characters.evaluation.clustering_metrics import adjusted_rand_index, over_merge_rate
from tests.unit.characters.labelled_faces import CHARACTERS, DIM, faces


def silent(_stage: str, _done: int, _total: int) -> None:
    """Nobody listens."""


def test_each_cluster_is_one_character_and_outliers_stay_unclustered() -> None:
    made = faces(800)
    labels = cluster(made.rows.astype(np.float16))
    assert adjusted_rand_index(made.truth, labels) >= 0.97
    assert over_merge_rate(made.truth, labels) <= 0.02
    assert labels.max() + 1 == CHARACTERS
    assert (cluster(made.rows.astype(np.float16)) == labels).all()


def test_faces_beyond_the_sample_join_the_clusters_of_the_sample() -> None:
    made = faces(1200)
    labels = cluster(made.rows, max_clustered=600)
    assert adjusted_rand_index(made.truth, labels) >= 0.95
    assert over_merge_rate(made.truth, labels) <= 0.02


@pytest.mark.parametrize("count", [0, 1, 19])
def test_too_few_faces_form_no_cluster(count: int) -> None:
    assert (cluster(faces(100).rows[:count]) == -1).all()


def test_a_small_min_cluster_size_finds_small_clusters() -> None:
    made = make_faces(24, DIM, characters=4, noise_share=0.0, smallest_character=6)
    assert adjusted_rand_index(made.truth, cluster(made.rows, min_cluster_size=5)) == 1.0
    assert (cluster(made.rows) == -1).all()


def test_copies_of_one_face_form_one_cluster() -> None:
    rows = faces(60).rows
    labels = cluster(np.concatenate([np.repeat(rows[:1], 40, axis=0), np.repeat(rows[1:2], 40, axis=0), rows[2:]]))
    assert len(set(labels[:40].tolist())) == 1
    assert labels[0] >= 0
    assert labels[0] != labels[40]


def test_unconnected_components_are_joined_into_one_tree() -> None:
    chance = np.random.default_rng(3)
    heaps = [chance.standard_normal((50, 8)).astype(np.float32) * 0.01 + place for place in range(6)]
    rows = np.concatenate(heaps).astype(np.float32)
    graph = nearest_neighbours(rows, 12, silent)
    tree = minimum_spanning_edges(rows, graph, core_distances(graph, 10), silent)
    assert tree.shape == (299, 3)
    assert sorted(set(tree[:, :2].astype(int).ravel().tolist())) == list(range(300))
    long = tree[tree[:, 2] > 1.0]
    # Each heap hangs on a neighbouring one: the step from heap to heap is sqrt(8).
    assert len(long) == 5
    assert np.allclose(long[:, 2], np.sqrt(8), atol=0.2)


def test_the_spanning_tree_equals_that_of_all_pairs() -> None:
    from scipy.sparse.csgraph import minimum_spanning_tree  # type: ignore[import-untyped]

    rows = faces(200).rows
    graph = nearest_neighbours(rows, 199, silent)
    core = core_distances(graph, 10)
    tree = minimum_spanning_edges(rows, graph, core, silent)
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    reach = np.maximum(apart, np.maximum(core[:, None], core[None]))
    np.fill_diagonal(reach, 0)
    assert tree[:, 2].sum() == pytest.approx(minimum_spanning_tree(reach).sum(), rel=1e-4)


def test_the_worker_reads_the_vector_file_of_the_daemon(tmp_path: Path) -> None:
    rows = faces(100).rows
    assert write_vector_file(tmp_path / "a.f16", [rows[:30], rows[30:]]) == 100
    assert np.abs(open_vector_file(tmp_path / "a.f16", rows.shape[1]).astype(np.float32) - rows).max() < 1e-3
    (tmp_path / "none.f16").touch()
    assert open_vector_file(tmp_path / "none.f16", 7).shape == (0, 7)
    with pytest.raises(ValueError, match="not a multiple"):
        open_vector_file(tmp_path / "a.f16", 7)


def test_an_exception_of_the_progress_callback_ends_the_clustering() -> None:
    def stop(stage: str, _done: int, _total: int) -> None:
        if stage == "building the tree":
            raise InterruptedError(stage)

    with pytest.raises(InterruptedError):
        cluster(faces(200).rows, report_progress=stop)


def test_the_quality_equals_that_of_hdbscan() -> None:
    from hdbscan import HDBSCAN

    made = faces(500, own=0.25)
    theirs = HDBSCAN(min_cluster_size=clustering.MIN_CLUSTER_SIZE).fit_predict(made.rows)
    assert adjusted_rand_index(made.truth, cluster(made.rows)) >= adjusted_rand_index(made.truth, theirs) - 0.02
