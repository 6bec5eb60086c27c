"""The filter chips of the boards. Their state is the URL's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db.models import Exists, OuterRef

from webapp.datasets.models import DatasetVersion
from webapp.hardware.models import Environment
from webapp.results.models import Result
from webapp.results.presentation import threads_words
from webapp.results.selectors import BoardFilters, filter_choices
from webapp.templatetags.show import backend_title, family_title

Choice = tuple[str, str]


@dataclass(frozen=True)
class Chip:
    """One filter: its name in the URL, what it reads, the choices, and the chosen value ("" for any)."""

    name: str
    label: str
    choices: list[Choice]
    value: str

    @property
    def on(self) -> bool:
        """Whether the filter leaves anything out."""
        return bool(self.value)


def board_chips(filters: BoardFilters) -> list[Chip]:
    """Return the chips with the choices that occur in results; a fixed number of queries."""
    found = filter_choices()
    rows: list[tuple[str, str, list[Choice]]] = [
        ("dataset", "Data set", _versions()),
        ("split", "Split", _plain(found["split"])),
        ("environment", "Machine", _environments()),
        ("family", "Family", [(name, family_title(name)) for name in found["family"]]),
        ("backend", "Backend", [(name, backend_title(name)) for name in found["backend"]]),
        ("dtype", "dtype", _plain(found["dtype"])),
        ("duration", "Duration", _plain(found["duration"])),
        ("threads", "Threads", _threads()),
    ]
    return [_chip(name, label, choices, getattr(filters, name)) for name, label, choices in rows]


def _chip(name: str, label: str, choices: list[Choice], value: str) -> Chip:
    """A value from the URL that occurs nowhere is offered too, so that the page shows what it filters by."""
    if value and value not in {choice for choice, _ in choices}:
        choices = [*choices, (value, f"{value} (no results)")]
    return Chip(name=name, label=label, choices=choices, value=value)


def _plain(values: list[str]) -> list[Choice]:
    return [(value, value) for value in values]


def _versions() -> list[Choice]:
    used = Exists(Result.objects.filter(dataset_version=OuterRef("pk")))
    versions = DatasetVersion.objects.filter(used).select_related("dataset").defer("report", "splits").order_by("dataset__name", "-number")
    return [(str(version.uuid), str(version)) for version in versions]


def _environments() -> list[Choice]:
    """Machines by title; those that share a title are told apart by threads, and by hash where even these agree."""
    used = Exists(Result.objects.filter(environment=OuterRef("pk")))
    rows = list(Environment.objects.filter(used).order_by("title", "id"))
    names = [environment_words(row) for row in rows]
    twice = {name for name, count in Counter(names).items() if count > 1}
    return [(str(row.uuid), f"{name} · {row.stable_hash[:6]}" if name in twice else name) for row, name in zip(rows, names, strict=True)]


def environment_words(environment: Environment) -> str:
    """Name a machine with its thread count."""
    threads = (environment.record.get("details") or {}).get("threads")
    if not threads:
        return environment.title
    return f"{environment.title} · {threads_words(threads)}"


def _threads() -> list[Choice]:
    values = Result.objects.order_by("threads").values_list("threads", flat=True).distinct()
    return [(str(value), str(value)) for value in values]
