"""Queueing a study."""

from __future__ import annotations

from webapp.accounts.models import User
from webapp.jobs.models import Suite
from webapp.jobs.services import PlannedJob, suite_create
from webapp.studies.plan import StudyRequest


def study_queue(*, request: StudyRequest, user: User | None, jobs: list[PlannedJob], idempotency_key: str | None = None) -> Suite:
    """Queue a run of a study, all jobs or none.

    Raises:
        InvalidInput: a job is wrong, or the key was used for something else.
    """
    return suite_create(name=request.title, user=user, jobs=jobs, study=request.study, idempotency_key=idempotency_key)
