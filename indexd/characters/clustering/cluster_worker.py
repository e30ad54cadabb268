"""Worker side: clusters faces in a process without torch, one call at a time, at a low scheduling priority."""

from __future__ import annotations

import contextlib
import os
import sys

from indexd.characters.clustering.hdbscan_clustering import cluster
from indexd.characters.clustering.vector_file import open_vector_file
from indexd.worker.calls import ClusterFaces, FacesClustered
from indexd.worker.session import CallSession

NICE_LEVEL = 10


def cluster_faces(call: ClusterFaces, session: CallSession) -> FacesClustered:
    """Cluster the faces in the call's file. Cancellation takes effect between steps; the longest takes some seconds."""
    # A clustering lasts up to minutes and is not urgent. The lane serves nothing else.
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, NICE_LEVEL)

    def report_progress(stage: str, done: int, total: int) -> None:
        session.poll()
        session.progress(stage, done, total)

    rows = open_vector_file(call.path, call.dim)
    return FacesClustered(cluster(rows, min_cluster_size=call.min_cluster_size, report_progress=report_progress))
