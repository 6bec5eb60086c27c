"""Reads of results: the board's filters, sorting and pages; the groups within which a front may be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from uuid import UUID

from django.db.models import Count, F, Max, Q, QuerySet

from webapp.artifacts.models import Artifact
from webapp.datasets.models import DatasetVersion
from webapp.jobs.models import Job, JobOutput
from webapp.jobs.states import State
from webapp.results.models import Result

SORTS: dict[str, str] = {
    "ap": "ap",
    "ap50": "ap50",
    "ap75": "ap75",
    "ap_small": "ap_small",
    "small_recall": "small_recall",
    "ar_100": "ar_100",
    "p50_ms": "p50_ms",
    "p95_ms": "p95_ms",
    "fps": "fps",
    "params_m": "params_m",
    "macs_g": "macs_g",
    "size_bytes": "size_bytes",
    "model": "model",
    "created_at": "created_at",
}
PER_PAGE = 50
# The flag of a result whose AP the two evaluators count differently: no number of it may be compared before that is explained.
EVALUATORS_DISAGREE = "evaluators_disagree"
# The flag of a result whose detections were cut off above 0.001.
THRESHOLDED = "thresholded"


@dataclass(frozen=True)
class BoardFilters:
    """What a reader asked for, as it stands in the URL. Empty text means any."""

    dataset: str = ""
    environment: str = ""
    group: str = ""
    suite: str = ""
    family: str = ""
    model: str = ""
    backend: str = ""
    dtype: str = ""
    duration: str = ""
    split: str = ""
    threads: str = ""
    licence: str = ""
    search: str = ""
    show: str = ""  # "all" also lists incomplete results, those on the split that chose the checkpoint, and doubted ones
    sort: str = "-ap"
    page: int = 1

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> BoardFilters:
        """Read the filters from a request's query; what cannot be used is left at its default."""
        given = {item.name: query.get(item.name, "").replace("\x00", "") for item in fields(cls)}
        values = {name: value for name, value in given.items() if value and name != "page"}
        page = given["page"][:9]
        chosen = cls(**values, page=max(1, int(page)) if page.isdecimal() else 1)
        known = chosen.sort.removeprefix("-") in SORTS
        return chosen if known else replace(chosen, sort="-ap")


@dataclass(frozen=True)
class Page:
    """One page of results and how many there are."""

    rows: list[Result]
    total: int
    number: int
    pages: int


@dataclass(frozen=True)
class FrontGroup:
    """Results that may share a front: one data set version and split, one machine and thread count, one protocol.

    `ap_origin` names the machine that told the AP, where the latency was measured here and the AP came in as a bundle.
    """

    key: str
    dataset: str
    split: str
    environment: str
    threads: int
    scenario: str
    duration: str
    results: int
    ap_origin: str = ""

    @property
    def title(self) -> str:
        """Name the group in words."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.dataset} {self.split} · {self.environment} · {threads} · {self.duration}" + (
            f" · AP offline, measured on {self.ap_origin}" if self.ap_origin else ""
        )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _matching(filters: BoardFilters) -> Q:
    condition = Q()
    for name in ("family", "model", "backend", "dtype", "duration", "split", "licence"):
        if value := getattr(filters, name):
            condition &= Q(**{name: value})
    for name, column in (("dataset", "dataset_version__uuid"), ("environment", "environment__uuid"), ("suite", "suite_uuid")):
        if value := getattr(filters, name):
            condition &= Q(**{column: _uuid(value)}) if _uuid(value) else Q(pk__in=[])
    if filters.group:
        condition &= Q(group_key=filters.group)
    if filters.threads.isdecimal():
        condition &= Q(threads=int(filters.threads[:9]))
    if filters.search:
        condition &= Q(model__icontains=filters.search) | Q(family__icontains=filters.search)
    if filters.show != "all":
        condition &= Q(complete=True, selection_split=False) & ~Q(flags__contains=[EVALUATORS_DISAGREE])
    return condition


def results_with_relations() -> QuerySet[Result]:
    """Return results with everything that a row of a board shows, in one query; not what stands behind it, which may be large."""
    rows = Result.objects.select_related(
        "dataset_version__dataset", "environment", "evaluation", "latency", "checkpoint", "exported_model__artifact"
    )
    return rows.defer("evaluation__result", "latency__result")


def result_query(filters: BoardFilters) -> QuerySet[Result]:
    """Return the results that match, sorted; undefined values last."""
    name = filters.sort.removeprefix("-")
    column = F(SORTS[name])
    order = column.desc(nulls_last=True) if filters.sort.startswith("-") else column.asc(nulls_last=True)
    return results_with_relations().filter(_matching(filters)).order_by(order, "id")


def result_board(filters: BoardFilters, *, per_page: int = PER_PAGE) -> Page:
    """Return one page of the board: two queries, however many rows there are."""
    query = result_query(filters)
    total = query.count()
    pages = max(1, -(-total // per_page))
    number = min(filters.page, pages)
    rows = list(query[(number - 1) * per_page : number * per_page])
    return Page(rows=rows, total=total, number=number, pages=pages)


def front_groups(filters: BoardFilters | None = None) -> list[FrontGroup]:
    """Return the groups within which a front may be drawn, the one with the newest result first."""
    chosen = replace(filters, group="", sort="-ap") if filters else BoardFilters()
    rows = (
        Result.objects.filter(_matching(chosen), latency__isnull=False)
        .values("group_key", "split", "threads", "scenario", "duration")
        .annotate(
            results=Count("id"),
            newest=Max("id"),
            dataset=Max("dataset_version__dataset__name"),
            number=Max("dataset_version__number"),
            environment=Max("environment__title"),
            ap_origin=Max("evaluation__job__origin", filter=Q(latency__job__origin="")),
        )
        .order_by("-newest")[:100]
    )
    return [
        FrontGroup(
            key=row["group_key"],
            dataset=f"{row['dataset']} v{row['number']}",
            split=row["split"],
            environment=row["environment"],
            threads=row["threads"],
            scenario=row["scenario"],
            duration=row["duration"],
            results=row["results"],
            ap_origin=row["ap_origin"] or "",
        )
        for row in rows
    ]


def result_get(uuid: UUID) -> Result | None:
    """Return the result with everything its page shows, or None."""
    return (
        results_with_relations()
        .defer(None)
        .select_related(
            "evaluation__job", "latency__job", "evaluation__detections", "latency__samples", "checkpoint__artifact", "checkpoint__job"
        )
        .filter(uuid=uuid)
        .first()
    )


def evaluated_job(uuid: UUID) -> Job | None:
    """Return the finished evaluate or score job with this id, or None."""
    return Job.objects.filter(uuid=uuid, kind__in=("evaluate", "score"), state=State.SUCCEEDED).first()


def evaluated_result(job: Job) -> Result | None:
    """Return the result that shows an evaluation, the complete and newest one first; None for a scored file."""
    return results_with_relations().filter(evaluation__job=job).order_by("-complete", "-id").first()


def evaluated_version(job: Job) -> DatasetVersion | None:
    """Return the data set version that an evaluate or score job read: by its stored file, else by its content."""
    known = DatasetVersion.objects.filter(content_hash=(job.result or {}).get("dataset_sha256") or "").select_related("dataset")
    file = (job.spec.get("dataset") or {}).get("sha256")
    return known.filter(artifact_id=file).first() or known.order_by("-id").first()


def output_of(job: Job, role: str) -> Artifact | None:
    """Return a file that a job made, or None."""
    output = JobOutput.objects.filter(job=job, role=role).select_related("artifact").first()
    return output.artifact if output else None


def filter_choices() -> dict[str, list[str]]:
    """Return the values of each filter that occur in results, for the chips."""
    names = ("family", "backend", "dtype", "duration", "split", "licence")
    return {name: list(Result.objects.exclude(**{name: ""}).order_by(name).values_list(name, flat=True).distinct()) for name in names}
