"""The states of a job and the moves between them: one table, used by the database, the services and the pages."""

from __future__ import annotations

from django.db import models


class State(models.TextChoices):
    """Where a job stands."""

    WAITING = "waiting", "Waiting on another job"
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    CANCELLING = "cancelling", "Cancelling"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
ACTIVE = frozenset({State.WAITING, State.QUEUED, State.RUNNING, State.CANCELLING})

MOVES: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.QUEUED, State.CANCELLED, State.FAILED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.QUEUED, State.CANCELLING, State.SUCCEEDED, State.FAILED}),
    State.CANCELLING: frozenset({State.CANCELLED, State.SUCCEEDED, State.FAILED}),
    State.FAILED: frozenset({State.QUEUED, State.WAITING}),
    State.CANCELLED: frozenset({State.QUEUED, State.WAITING}),
    State.SUCCEEDED: frozenset(),
}


class FailureKind(models.TextChoices):
    """Whose a failure is to mend."""

    USER = "user", "Input"
    RESOURCE = "resource", "Resource"
    SYSTEM = "system", "System"


class Slot(models.TextChoices):
    """A worker runs one heavy job and, beside it, light ones."""

    HEAVY = "heavy", "Heavy"
    LIGHT = "light", "Light"


SLOT_OF_KIND: dict[str, Slot] = {
    "import": Slot.LIGHT,
    "import_model": Slot.LIGHT,
    "score": Slot.LIGHT,
    "probe": Slot.LIGHT,
    "train": Slot.HEAVY,
    "export": Slot.HEAVY,
    "evaluate": Slot.HEAVY,
    "benchmark": Slot.HEAVY,
}
TAKES_HOST_ALONE = frozenset({"benchmark"})
