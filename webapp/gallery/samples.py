"""What a training found on a few images of val, evaluation by evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.datasets.models import DatasetVersion
from webapp.gallery.examples import Examples, examples_of_sample
from webapp.jobs.models import Job, JobEvent


@dataclass(frozen=True)
class Sample:
    """One evaluation on val that was looked at: its event, and how many epochs were done."""

    seq: int
    epoch: float


def samples_of(job: Job) -> list[Sample]:
    """Return the evaluations of which a training showed samples, the first one first."""
    rows = JobEvent.objects.filter(job=job, type="samples").order_by("seq").values_list("seq", "data__epoch")
    return [Sample(seq, float(epoch or 0)) for seq, epoch in rows]


def sampled(job: Job, sample: Sample) -> Examples:
    """Return the images of a sample with their boxes.

    Raises:
        webapp.gallery.examples.Unreadable: it was brought in from elsewhere and is no sample.
    """
    return examples_of_sample(JobEvent.objects.get(job=job, seq=sample.seq).data["examples"])


def trained_on(job: Job) -> DatasetVersion | None:
    """Return the data set version whose stored file a training reads."""
    file = (job.spec.get("dataset") or {}).get("sha256")
    return DatasetVersion.objects.filter(artifact_id=file).select_related("dataset").first()
