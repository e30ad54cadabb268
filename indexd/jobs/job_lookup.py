"""Lookups of jobs that must be in the ledger."""

from __future__ import annotations

from indexd.store.protocols import JobRepository
from indexd.store.records import JobRow


def require_job(ledger: JobRepository, job_id: int) -> JobRow:
    """The row of a job that is in the ledger."""
    job = ledger.get(job_id)
    if job is None:
        raise LookupError(f"the job ledger has no job {job_id}")
    return job


def is_finished(ledger: JobRepository, job_id: int) -> bool:
    """Whether the job has ended."""
    return require_job(ledger, job_id).state.is_final
