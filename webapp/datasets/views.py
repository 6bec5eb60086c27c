"""Pages of data sets: the list, one version with its counts and health, and its images with the boxes drawn."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from webapp.datasets import selectors
from webapp.datasets.drawing import draw
from webapp.datasets.models import Dataset, DatasetVersion

IMAGES_PER_PAGE = 24
ISSUES_PER_PAGE = 20
FORMS = {"coco": "COCO", "yolo": "YOLO", "voc": "Pascal VOC", "canonical": "canonical, as downloaded here", "builtin": "built in"}
YEAR = 365 * 24 * 3600


@require_GET
def dataset_list(request: HttpRequest) -> HttpResponse:
    """List every data set with its newest version."""
    return render(request, "datasets/list.html", {"datasets": selectors.dataset_list()})


@require_GET
def dataset_detail(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show one version of a data set."""
    dataset = get_object_or_404(Dataset, uuid=uuid)
    versions = selectors.version_list(dataset)
    version = _chosen(versions, request.GET.get("version", ""))
    context = {
        "dataset": dataset,
        "versions": versions,
        "version": version,
        "form": FORMS.get(version.form, version.form),
        "splits": selectors.split_rows(version),
        "classes": selectors.class_counts(version),
        "checkpoints": selectors.checkpoints_of(version),
        **_health(request, version),
        **_gallery(request, version),
    }
    return render(request, "datasets/detail.html", context)


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
def dataset_image(request: HttpRequest, version: UUID, number: int) -> HttpResponse:
    """Send one image as it was imported."""
    found = get_object_or_404(DatasetVersion, uuid=version)
    tag = f'"{found.content_hash[:32]}-{number}"'
    if request.headers.get("If-None-Match") == tag:
        response = HttpResponse(status=304)
    else:
        image = _stored(found, number)
        response = HttpResponse(selectors.image_bytes(found, image), content_type=image.content_type)
    response["ETag"] = tag
    response["Cache-Control"] = f"private, max-age={YEAR}, immutable"
    return response


def _stored(version: DatasetVersion, number: int) -> selectors.StoredImage:
    try:
        image = selectors.stored_image(version, number)
    except FileNotFoundError:
        raise Http404("the stored files of this data set are gone; import it again") from None
    if image is None or image.content_type is None:
        raise Http404("this data set has no such image")
    return image


def _chosen(versions: list[DatasetVersion], wanted: str) -> DatasetVersion:
    if not versions:
        raise Http404("this data set has no version yet; its import has not finished")
    found = [version for version in versions if str(version.uuid) == wanted] if wanted else versions[:1]
    if not found:
        raise Http404("this data set has no such version")
    return found[0]


def _health(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    issues = Paginator(version.report.get("issues", []), ISSUES_PER_PAGE)
    counts = sorted(version.report.get("counts", {}).items(), key=lambda item: (-item[1], item[0]))
    return {"issues": issues.get_page(request.GET.get("issues")), "problem_counts": counts, "problems": sum(count for _, count in counts)}


def _gallery(request: HttpRequest, version: DatasetVersion) -> dict[str, Any]:
    split = request.GET.get("split", "")
    split = split if split in selectors.SPLITS else ""
    try:
        images = selectors.stored_images(version, split=split)
    except FileNotFoundError:
        return {"gallery_gone": True, "split": split}
    page = Paginator(images, IMAGES_PER_PAGE).get_page(request.GET.get("page"))
    return {"split": split, "gallery": page, "drawn": [draw(image, version.classes) for image in page]}
