"""Pages of data sets: the list, one version with its counts, health and changes, and its images with the boxes drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase, HttpResponseNotFound
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from detection_core.schemas.base import InvalidInput
from webapp.datasets import selectors
from webapp.datasets.archive import ORDERS, StoredImage
from webapp.datasets.drawing import draw
from webapp.datasets.edits import history_words
from webapp.datasets.export import export_response, form_checked
from webapp.datasets.forms import EditsForm, asked_changes
from webapp.datasets.histograms import histograms
from webapp.datasets.images import WIDTHS, Unreadable, served_image
from webapp.datasets.models import Dataset, DatasetVersion

IMAGES_PER_PAGE = 24
ISSUES_PER_PAGE = 20
LEAKS_SHOWN = 50
MOST_LIVE = 100  # with more classes their names do not fit into an address
FORMS = {"coco": "COCO", "yolo": "YOLO", "voc": "Pascal VOC", "canonical": "canonical, as downloaded here", "builtin": "built in"}
EXPORTS = (("coco", "COCO"), ("yolo", "YOLO"), ("voc", "Pascal VOC"))
SORTS = (("", "by file name"), ("most", "most boxes first"), ("fewest", "fewest boxes first"))
YEAR = 365 * 24 * 3600


@require_GET
def dataset_list(request: HttpRequest) -> HttpResponse:
    """List every data set with its newest version."""
    return render(request, "datasets/list.html", {"datasets": selectors.dataset_list()})


@require_GET
def dataset_detail(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show one version of a data set; a preview, or a version that is to be edited, with the form that changes it."""
    versions = selectors.version_list(get_object_or_404(Dataset, uuid=uuid))
    chosen = _chosen(versions, request.GET.get("version", ""))
    return version_page(request, selectors.version_whole(chosen))


def version_page(request: HttpRequest, version: DatasetVersion, form: EditsForm | None = None) -> HttpResponse:
    """Answer with the page of a version; `form` is the one that was sent and needs a correction."""
    editing = not version.frozen or form is not None or "edit" in request.GET
    form = form or EditsForm(version, initial=asked_changes(version, request.GET.dict()))
    names = form.shown_names if editing else version.classes
    context = {
        "dataset": version.dataset,
        "versions": selectors.version_list(version.dataset),
        "version": version,
        "address": reverse("dataset-detail", args=[version.dataset.uuid]),
        "form": form,
        "form_of_files": FORMS.get(version.form, version.form),
        "exports": EXPORTS,
        "splits": selectors.split_rows(version),
        "images": sum(split.get("images", 0) for split in version.splits.values()),
        "classes": selectors.class_counts(version),
        "history": history_words(version.edits),
        "sizes": histograms(version, input_side=request.GET.get("input", "")),
        "checkpoints": selectors.checkpoints_of(version) if version.frozen else [],
        "exchange": _exchanged(request, names) if editing and len(names) == 2 and None not in names else None,
        "live": len(names) <= MOST_LIVE,
        **_health(request, version),
        **_leaks(version),
        **_gallery(request, version, names),
    }
    template = "datasets/preview.html" if editing else "datasets/detail.html"
    return render(request, template, context, status=400 if form.is_bound and form.errors else 200)


@require_GET
def dataset_picture(request: HttpRequest, version: UUID, number: int) -> HttpResponse:
    """Show one image large, with its boxes drawn and listed."""
    found = get_object_or_404(DatasetVersion.objects.select_related("dataset"), uuid=version)
    picture = draw(_stored(found, number), found.classes, letters_across=56)
    last = sum(split["images"] for split in found.splits.values())
    context = {
        "version": found,
        "dataset": found.dataset,
        "picture": picture,
        "previous": number - 1,
        "next": number + 1 if number < last else 0,
    }
    return render(request, "datasets/picture.html", context)


@require_GET
async def dataset_export(request: HttpRequest, uuid: UUID) -> HttpResponseBase:
    """Send a version as a .tar in the form of other tools."""
    wanted = request.GET.get("version", "")
    query = DatasetVersion.objects.filter(dataset__uuid=uuid).select_related("dataset", "artifact").order_by("-frozen", "-number")
    found = [version async for version in query.defer("report", "statistics", "leaks", "edits") if wanted in ("", str(version.uuid))]
    # Not Http404: see webapp.artifacts.views.
    if not found:
        return HttpResponseNotFound("this data set has no such version", content_type="text/plain")
    try:
        return await export_response(found[0], form_checked(request.GET.get("form", "")))
    except InvalidInput as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain")
    except FileNotFoundError:
        return HttpResponseNotFound("the stored files of this data set are gone; import it again", content_type="text/plain")


@require_GET
def dataset_image(request: HttpRequest, version: UUID, number: int) -> HttpResponse:
    """Send one image: as it was imported, or with `?width=` scaled to one of a few widths."""
    found = get_object_or_404(DatasetVersion.objects.only("content_hash", "artifact"), uuid=version)
    width = _width(request.GET.get("width", ""))
    tag = f'"{found.content_hash[:32]}-{number}-{width or "whole"}"'
    if request.headers.get("If-None-Match") == tag:
        response = HttpResponse(status=304)
    else:
        try:
            served = served_image(found.artifact_id, _stored(found, number), width=width)
        except (Unreadable, FileNotFoundError):
            raise Http404("this image cannot be read any more; import the data set again") from None
        response = HttpResponse(served.content, content_type=served.content_type)
    response["ETag"] = tag
    response["Cache-Control"] = f"private, max-age={YEAR}, immutable"
    return response


def _width(wanted: str) -> int | None:
    if not wanted:
        return None
    if wanted not in map(str, WIDTHS):
        raise Http404(f"images are scaled to a width of {', '.join(map(str, WIDTHS))} pixels; ask for one of these")
    return int(wanted)


def _stored(version: DatasetVersion, number: int) -> StoredImage:
    try:
        image = selectors.stored_image(version, number)
    except FileNotFoundError:
        raise Http404("the stored files of this data set are gone; import it again") from None
    if image is None or image.content_type is None:
        raise Http404("this data set has no such image")
    return image


def _chosen(versions: list[DatasetVersion], wanted: str) -> DatasetVersion:
    """Return the version that was asked for, else the newest frozen one, else the newest preview."""
    if not versions:
        raise Http404("this data set has no version yet; its import has not finished")
    newest = next((version for version in versions if version.frozen), versions[0])
    found = [version for version in versions if str(version.uuid) == wanted] if wanted else [newest]
    if not found:
        raise Http404("this data set has no such version")
    return found[0]


def _exchanged(request: HttpRequest, names: Sequence[str | None]) -> list[tuple[str, str]]:
    """Return the query fields of this very page with the names of its two classes exchanged."""
    kept = [(name, value) for name, value in request.GET.dict().items() if name not in ("name-0", "name-1")]
    return [*kept, ("name-0", names[1] or ""), ("name-1", names[0] or "")]


def _health(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    issues = Paginator(version.report.get("issues", []), ISSUES_PER_PAGE)
    counts = sorted(version.report.get("counts", {}).items(), key=lambda item: (-item[1], item[0]))
    return {"issues": issues.get_page(request.GET.get("issues")), "problem_counts": counts, "problems": sum(count for _, count in counts)}


def _leaks(version: DatasetVersion) -> dict[str, Any]:
    """Pairs of equal or nearly equal images in two splits, each with the numbers of its images where they are known."""
    found = version.leaks
    pairs = found.get("leaks", [])[:LEAKS_SHOWN]
    numbers: dict[str, int] = {}
    if pairs:
        try:
            numbers = {file: place for place, file in enumerate(selectors.stored_index(version).files, start=1)}
        except FileNotFoundError:
            numbers = {}
    shown = [
        {**pair, "first_number": numbers.get(_inner(pair["first"])), "second_number": numbers.get(_inner(pair["second"]))} for pair in pairs
    ]
    exact, near = found.get("exact", 0), found.get("near", 0)
    counts = {"leaks_total": exact + near, "leaks_exact": exact, "leaks_near": near, "leaks_checked": found.get("checked", 0)}
    return {"leaks": shown, **counts}


def _inner(file: str) -> str:
    return file.removeprefix("images/")


@dataclass(frozen=True)
class _Wanted:
    """Which images of a version are to be shown, and in which order."""

    split: str
    name: str
    sort: str


def _gallery(request: HttpRequest, version: DatasetVersion, names: Sequence[str | None]) -> dict[str, Any]:
    query = request.GET
    wanted = _Wanted(
        split=query["split"] if query.get("split") in selectors.SPLITS else "",
        name=query["class"] if query.get("class") in version.classes else "",
        sort=query["sort"] if query.get("sort") in ORDERS else "",
    )
    kept = [(name, value) for name, value in query.dict().items() if name not in ("split", "class", "sort", "page")]
    shared = {"wanted": wanted, "sorts": SORTS, "kept": kept, "class_choices": _class_choices(version, names)}
    try:
        index = selectors.stored_index(version)
    except FileNotFoundError:
        return {**shared, "gallery_gone": True}
    labels = [version.classes.index(wanted.name)] if wanted.name else None
    numbers = index.numbers(split=wanted.split, labels=labels, order=wanted.sort).tolist()
    page: Page[int] = Paginator(numbers, IMAGES_PER_PAGE).get_page(query.get("page"))
    return {**shared, "gallery": page, "drawn": [draw(index.image(number), names) for number in page]}


def _class_choices(version: DatasetVersion, names: Sequence[str | None]) -> list[tuple[str, str]]:
    """Of a class that is being renamed both names are told; the files' own is what the address carries."""
    pairs = zip(version.classes, names, strict=True)
    return [(name, name if shown in (name, None) else f"{shown} (in the files {name})") for name, shown in pairs]
