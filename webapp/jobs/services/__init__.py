"""Writes of jobs: each one move, in one transaction, from a checked state, with a wake-up on commit."""

from webapp.jobs.services.brought import job_bring, job_brought
from webapp.jobs.services.create import PlannedJob, job_create, suite_create
from webapp.jobs.services.finish import job_cancelled, job_fail, job_lost, job_requeue, job_succeed
from webapp.jobs.services.moves import NotOwner
from webapp.jobs.services.people import job_cancel, job_retry
from webapp.jobs.services.running import (
    Renewal,
    job_claim,
    job_event_add,
    job_log_append,
    job_look,
    job_progress,
    job_renew,
    job_state_saved,
)
from webapp.jobs.services.sweep import SweepReport, jobs_of_former_worker_requeue, jobs_sweep
from webapp.jobs.services.versions import Frozen, version_freeze

__all__ = [
    "Frozen",
    "NotOwner",
    "PlannedJob",
    "Renewal",
    "SweepReport",
    "job_bring",
    "job_brought",
    "job_cancel",
    "job_cancelled",
    "job_claim",
    "job_create",
    "job_event_add",
    "job_fail",
    "job_log_append",
    "job_look",
    "job_lost",
    "job_progress",
    "job_renew",
    "job_requeue",
    "job_retry",
    "job_state_saved",
    "job_succeed",
    "jobs_of_former_worker_requeue",
    "jobs_sweep",
    "suite_create",
    "version_freeze",
]
