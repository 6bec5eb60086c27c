"""Runs of studies as their jobs would leave them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tests.accuracy_factories import DRAWS, KEY, give_accuracy
from tests.factories import make_dataset_version, make_result
from webapp.accounts.models import User
from webapp.datasets.models import DatasetVersion
from webapp.jobs.models import Job, Suite
from webapp.jobs.states import State
from webapp.results.models import Evaluation, LatencyMeasurement
from webapp.studies.plan import StudyRequest, study_plan
from webapp.studies.services import study_queue


def make_run(name: str = "focal-loss", *, seeds: Sequence[int] = (0, 1, 2), user: User | None = None) -> Suite:
    """Queue a run of a study, on a stored data set where it takes one."""
    version = make_dataset_version()
    fields = {} if name == "altitude" else {"dataset_sha256": version.artifact_id, "dataset_name": str(version)}
    request = StudyRequest.parse({"study": name, "seeds": list(seeds), **fields})
    return study_queue(request=request, user=user, jobs=study_plan(request))


def evaluated(job: Job, ap: float, *, own: float = 0.002, key: str = KEY, p50_ms: float | None = None) -> Evaluation:
    """Let an evaluate job of a run have found `ap`, and its benchmark job a latency; draws share the luck of the images."""
    version = version_of(job)
    row = make_result("retinanet_resnet10_fpn", ap=ap, p50_ms=p50_ms, backend="eager", dataset_version=version, refresh=False)
    _moved(row.evaluation, job)
    row.evaluation.job = job
    give_accuracy(row, draws=_draws(ap, own=own, name=str(job.labels)), key=key)
    if row.latency:
        timed = job.suite.jobs.get(kind="benchmark", labels__arm=job.labels["arm"], labels__seed=job.labels["seed"])
        _moved(row.latency, timed)
    return Evaluation.objects.get(job=job)


def finish(suite: Suite, aps: Mapping[str, Sequence[float]], *, own: float = 0.002, p50_ms: Mapping[str, float] | None = None) -> None:
    """Let a run end well: `aps` gives, by arm, the AP of each seed in order, or by "arm tested" where there are several data sets."""
    suite.jobs.update(state=State.SUCCEEDED)
    for job in suite.jobs.filter(kind="evaluate").order_by("id"):
        arm, tested = job.labels["arm"], job.labels["tested"]
        values = aps.get(f"{arm} {tested}".strip())
        if values is not None:
            place = sorted({one["seed"] for one in suite.jobs.filter(kind="train").values_list("labels", flat=True)}).index(
                job.labels["seed"]
            )
            evaluated(job, values[place], own=own, p50_ms=(p50_ms or {}).get(arm))


def version_of(job: Job) -> DatasetVersion:
    """Return the data that a job is tested on: one version for each altitude, else the one of the factories."""
    tested = job.labels["tested"]
    return make_dataset_version(f"fields-{tested}", classes=("crop", "weed")) if tested else make_dataset_version()


def _draws(ap: float, *, own: float, name: str) -> list[float]:
    shared, alone = random.Random(0), random.Random(name)
    return [ap + shared.gauss(0, 0.015) + alone.gauss(0, own) for _ in range(DRAWS)]


def _moved(measured: Evaluation | LatencyMeasurement, job: Job) -> None:
    """Give a measurement of the factories to a job of the run."""
    former = measured.job
    type(measured).objects.filter(pk=measured.pk).update(job=job)
    Job.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    former.delete()
