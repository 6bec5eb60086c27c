"""Looking at evaluated images: the grid, one image large, two evaluations side by side, suspected label errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from webapp.gallery import selectors
from webapp.gallery.counts import AtScore, operating_words, score_words_of, slider
from webapp.gallery.drawing import BROAD_LETTERS, LARGE_LETTERS, Album, crop_around
from webapp.gallery.examples import SIZES, Unreadable
from webapp.gallery.samples import sampled, samples_of, trained_on
from webapp.gallery.selectors import Looked, Wanted
from webapp.gallery.suspects import suspect_kinds, suspects_csv, suspects_shown
from webapp.jobs.models import Job

IMAGES_PER_PAGE = 24
PAIRS_PER_PAGE = 12
SUSPECTS_PER_PAGE = 24
# What the address holds beside the score; the page number starts anew where the list may change.
FILTERS = ("shows", "class", "size", "error", "group", "sort")
MOST_GROUPS = 300
BETTER = ("first", "second")


Rest = ParamSpec("Rest")


def of_evaluation(view: Callable[Concatenate[HttpRequest, Looked, Rest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Have a view take the evaluation itself in place of its id; one without images gets a page that says so."""

    @require_safe
    @wraps(view)
    def looking(request: HttpRequest, uuid: UUID, *args: Rest.args, **rest: Rest.kwargs) -> HttpResponse:
        looked = _looked_at(uuid)
        if isinstance(looked, Looked):
            return view(request, looked, *args, **rest)
        return _nothing_kept(request, looked)

    return looking


@of_evaluation
def gallery_images(request: HttpRequest, looked: Looked) -> HttpResponse:
    """Show images of an evaluation as a grid: filtered, sorted and paged by the address, drawn at its score."""
    wanted = selectors.wanted_images(looked.examples, request.GET)
    places = selectors.listed(AtScore(looked.examples, wanted.listed_at), wanted)
    page: Page[int] = Paginator(places, IMAGES_PER_PAGE).get_page(request.GET.get("page"))
    album = Album(looked.examples, looked.version, score=wanted.score)
    context = {
        **_shared(request, looked, wanted),
        "page": page,
        "pictures": [album.picture(place) for place in page],
        "album": album,
        "shows": selectors.SHOWS,
        "sizes": SIZES,
        "errors": selectors.ERRORS,
        "orders": selectors.ORDERS,
        "groups": selectors.group_choices(looked.examples)[:MOST_GROUPS],
    }
    return render(request, "gallery/images.html", context)


@of_evaluation
def gallery_image(request: HttpRequest, looked: Looked, number: int) -> HttpResponse:
    """Show one image large with its objects and detections; previous and next stay within the filter of the address."""
    place = looked.examples.places.get(number)
    if place is None:
        raise Http404("this evaluation has no such image")
    wanted = selectors.wanted_images(looked.examples, request.GET)
    places = selectors.listed(AtScore(looked.examples, wanted.listed_at), wanted)
    album = Album(looked.examples, looked.version, score=wanted.score)
    context = {
        **_shared(request, looked, wanted),
        **_neighbours(looked, places, place),
        "picture": album.picture(place, letters_across=LARGE_LETTERS, numbered=True),
        "album": album,
        "suspects": [suspect for suspect in looked.examples.suspects if suspect.image == number],
    }
    return render(request, "gallery/image.html", context)


@of_evaluation
def gallery_suspects(request: HttpRequest, looked: Looked) -> HttpResponse:
    """List suspected label errors with a crop of each, or all of them as CSV."""
    kind = request.GET.get("kind", "")
    kinds = suspect_kinds(looked.examples)
    kind = kind if kind in [name for name, _, _ in kinds] else ""
    found = suspects_shown(looked.examples, kind)
    if request.GET.get("format") == "csv":
        headers = {"Content-Disposition": f'attachment; filename="suspects-{looked.job.uuid}.csv"'}
        return HttpResponse(suspects_csv(looked, found), content_type="text/csv; charset=utf-8", headers=headers)
    page = Paginator(found, SUSPECTS_PER_PAGE).get_page(request.GET.get("page"))
    album = Album(looked.examples, looked.version, score=looked.examples.score_thresh)
    pictures = [album.picture(looked.examples.places[suspect.image]) for suspect in page]
    context = {
        "looked": looked,
        "page": page,
        "kind": kind,
        "kinds": kinds,
        "all": len(looked.examples.suspects),
        "rows": [(suspect, crop_around(picture, suspect)) for suspect, picture in zip(page, pictures, strict=True)],
        "album": album,
    }
    return render(request, "gallery/suspects.html", context)


@of_evaluation
def gallery_others(request: HttpRequest, looked: Looked) -> HttpResponse:
    """List the other evaluations of the same images, to set one of them beside this one."""
    return render(request, "gallery/others.html", {"looked": looked, "others": selectors.other_evaluations(looked)})


@of_evaluation
def gallery_differences(request: HttpRequest, looked: Looked, other: UUID) -> HttpResponse:
    """Show side by side the images on which two evaluations differ most, each drawn at its own operating point."""
    second = _looked_at(other)
    if not isinstance(second, Looked):
        return _nothing_kept(request, second)
    obstacle = selectors.why_not_comparable(looked, second)
    context: dict[str, Any] = {"first": looked, "second": second, "obstacle": obstacle}
    if not obstacle:
        context |= _side_by_side(request, looked, second)
    return render(request, "gallery/differences.html", context)


@require_safe
def gallery_samples(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show what a training found on a few images of val after one of its evaluations, the newest by default; for scripts, that alone."""
    job = get_object_or_404(Job, uuid=uuid, kind="train")
    samples = samples_of(job)
    if not samples:
        return render(request, "gallery/samples.html", {"job": job, "samples": samples})
    shown = next((sample for sample in samples if str(sample.seq) == request.GET.get("at")), samples[-1])
    try:
        album = Album(sampled(job, shown), trained_on(job), score=0.0)
    except Unreadable:
        raise Http404("these sample predictions cannot be read") from None
    place = samples.index(shown)
    context = {
        "job": job,
        "samples": samples,
        "shown": shown,
        "previous": samples[place - 1] if place else None,
        "next": samples[place + 1] if place + 1 < len(samples) else None,
        "album": album,
        "pictures": [album.picture(number) for number in range(len(album.examples))],
    }
    return render(request, "gallery/_samples.html" if request.GET.get("part") else "gallery/samples.html", context)


def _looked_at(uuid: UUID) -> Looked | Job:
    try:
        looked = selectors.looked_at(uuid)
    except Unreadable:
        raise Http404("the stored images of this evaluation cannot be read any more; evaluate again") from None
    if looked is None:
        raise Http404("no finished evaluation or scoring has this id")
    return looked


def _nothing_kept(request: HttpRequest, job: Job) -> HttpResponse:
    return render(request, "gallery/nothing_kept.html", {"job": job, "title": selectors.evaluation_title(job)})


def _shared(request: HttpRequest, looked: Looked, wanted: Wanted) -> dict[str, Any]:
    """What a page with a slider shows; `query` is the address's question, to be handed on to an image of the list."""
    kept = [(name, request.GET[name]) for name in FILTERS if request.GET.get(name)]
    query = request.GET.copy()
    query.pop("page", None)
    return {
        "looked": looked,
        "wanted": wanted,
        "kept": kept,
        "query": query.urlencode(),
        "slider": slider(looked.examples, wanted.score),
        "moved": wanted.score != looked.examples.score_thresh,
        "listed_words": score_words_of(looked.examples, wanted.listed_at),
    }


def _neighbours(looked: Looked, places: list[int], place: int) -> dict[str, Any]:
    """The images before and after one in a list, and where it stands; an image that is not in the list has none."""
    ids = looked.examples.ids
    if place not in places:
        return {"previous": None, "next": None, "rank": 0, "of": len(places)}
    row = places.index(place)
    return {
        "previous": ids[places[row - 1]] if row else None,
        "next": ids[places[row + 1]] if row + 1 < len(places) else None,
        "rank": row + 1,
        "of": len(places),
    }


def _side_by_side(request: HttpRequest, first: Looked, second: Looked) -> dict[str, Any]:
    at = [AtScore(looked.examples, looked.examples.score_thresh) for looked in (first, second)]
    found = selectors.differences(*at)
    better = request.GET.get("better", "")
    better = better if better in BETTER else ""
    rows = {"first": found.first_better, "second": found.second_better}.get(better, found.rows)
    page = Paginator(rows, PAIRS_PER_PAGE).get_page(request.GET.get("page"))
    albums = [Album(looked.examples, looked.version, score=looked.examples.score_thresh) for looked in (first, second)]
    return {
        "found": found,
        "better": better,
        "page": page,
        "pairs": [(row, *(album.picture(row.place, letters_across=BROAD_LETTERS) for album in albums)) for row in page],
        "first_score": operating_words(first.examples),
        "second_score": operating_words(second.examples),
        "album": albums[0],
    }
