"""Worker side: groups faces in a process without torch, one thing at a time and behind everything else of the machine."""

from __future__ import annotations

import contextlib
import os

from indexd.characters.clustering.hdbscan_clustering import cluster
from indexd.characters.clustering.vector_file import open_vector_file
from indexd.worker.calls import ClusterFaces, FacesClustered
from indexd.worker.session import CallSession

NICE_LEVEL = 10


def cluster_faces(call: ClusterFaces, session: CallSession) -> FacesClustered:
    """Group the faces of the call's file. It can be cancelled between steps, of which the longest takes some seconds."""
    # It lasts up to minutes and nobody waits for it in between. The lane serves nothing else.
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE_LEVEL)

    def tell(stage: str, done: int, total: int) -> None:
        session.poll()
        session.progress(stage, done, total)

    rows = open_vector_file(call.path, call.dim)
    return FacesClustered(cluster(rows, min_cluster_size=call.min_cluster_size, report_progress=tell))
