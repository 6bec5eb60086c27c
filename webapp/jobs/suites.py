"""A suite as a matrix: one row a model, one column a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from webapp.jobs.listing import JobRow
from webapp.jobs.plan import remaining_seconds
from webapp.jobs.presentation import about
from webapp.jobs.states import FINAL, State
from webapp.templatetags.show import backend_title

STEPS = ("import", "import_model", "train", "export", "evaluate", "benchmark", "score", "probe")
STEP_TITLES = {
    "import": "Import",
    "import_model": "Bring in",
    "train": "Train",
    "export": "Export",
    "evaluate": "Evaluate",
    "benchmark": "Time",
    "score": "Score",
    "probe": "Probe",
}

Step = tuple[str, str]


@dataclass(frozen=True)
class Matrix:
    """The steps over the columns and, for each model, the job of each step (None where it has none). `others` fit no model."""

    steps: tuple[Step, ...]
    rows: tuple[tuple[str, tuple[JobRow | None, ...]], ...]
    others: tuple[JobRow, ...]

    @property
    def titles(self) -> list[tuple[str, str]]:
        """Return each column's step and backend as pages write them."""
        return [(STEP_TITLES.get(kind, kind), backend_title(backend) if backend else "") for kind, backend in self.steps]

    @property
    def titled_rows(self) -> list[tuple[str, list[tuple[str, str, JobRow | None]]]]:
        """Return each model with its cells, each cell with the titles of its column (a phone shows them beside it)."""
        return [(model, [(*title, cell) for title, cell in zip(self.titles, cells, strict=True)]) for model, cells in self.rows]


def suite_matrix(rows: Sequence[JobRow]) -> Matrix:
    """Sort the jobs of a suite into a matrix; a second job of the same model and step stands among the others.

    Jobs of a study that test one training on several data sets have a column for each of these.
    """
    cells: dict[str, dict[Step, JobRow]] = {}
    others: list[JobRow] = []
    for row in rows:
        step = (row.job.kind, str(row.job.labels.get("tested_title") or row.job.spec.get("backend") or ""))
        model = row.job.title.partition(" · ")[0]
        if row.job.kind in ("import", "score", "probe") or not model or step in cells.get(model, {}):
            others.append(row)
        else:
            cells.setdefault(model, {})[step] = row
    steps = sorted({step for row in cells.values() for step in row}, key=lambda step: (STEPS.index(step[0]), step[1]))
    filled = tuple((model, tuple(row.get(step) for step in steps)) for model, row in cells.items())
    return Matrix(steps=tuple(steps), rows=filled, others=tuple(others))


@dataclass(frozen=True)
class SuiteState:
    """How far a suite is."""

    done: int
    total: int
    words: str
    final: bool
    failures: tuple[JobRow, ...]


def suite_state(rows: Sequence[JobRow]) -> SuiteState:
    """Count a suite's jobs by state, in words, with the time that is left."""
    jobs = [row.job for row in rows]
    counts = Counter(job.state for job in jobs)
    done = sum(counts[state] for state in FINAL)
    named = ((State.RUNNING, "running"), (State.CANCELLING, "cancelling"), (State.QUEUED, "queued"), (State.WAITING, "waiting"))
    ended = ((State.FAILED, "failed"), (State.CANCELLED, "cancelled"))
    parts = [
        f"{counts[State.SUCCEEDED]} of {len(jobs)} jobs done",
        *(f"{counts[state]} {word}" for state, word in (*named, *ended) if counts[state]),
    ]
    if done < len(jobs):
        parts.append(f"{about(remaining_seconds(jobs))} left")
    failures = tuple(row for row in rows if row.job.state == State.FAILED)
    return SuiteState(done=done, total=len(jobs), words=", ".join(parts), final=done == len(jobs), failures=failures)
