"""A preview is looked at, corrected and frozen; a frozen version is changed into a new one."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from tests.page_factories import make_stored_dataset
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.jobs.models import Job

pytestmark = pytest.mark.django_db


@pytest.fixture
def preview() -> DatasetVersion:
    return make_stored_dataset("weeds", frozen=False)


def _text(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def _page(client, version, /, **query):
    return client.get(reverse("dataset-detail", args=[version.dataset.uuid]), {"version": str(version.uuid)} | query)


def _send(client, version, /, **changes):
    names = {f"name-{label}": name for label, name in enumerate(version.classes)}
    return client.post(reverse("dataset-freeze", args=[version.uuid]), {"act": "freeze", "deal": "keep"} | names | changes)


def _labels(page):
    return [[box.label for box in picture.boxes] for picture in page.context["drawn"]]


def test_a_preview_shows_the_boxes_with_their_names_and_the_form_that_changes_them(alice_client, preview):
    page = _page(alice_client, preview)
    assert "A preview of version 1, read just now . Look at it, correct it, freeze it" in _text(page)
    assert _labels(page) == [["crop", "weed"], ["crop"], []]
    assert 'name="name-0" value="crop"' in page.content.decode()
    assert "style=" not in page.content.decode()


def test_somebody_who_is_not_logged_in_sees_it_and_cannot_change_it(client, preview):
    page = _page(client, preview)
    assert "Log in to freeze it" in _text(page)
    assert 'name="name-0"' not in page.content.decode()
    assert _send(client, preview).url.startswith("/login")
    preview.refresh_from_db()
    assert not preview.frozen


def test_freezing_without_a_change_is_done_at_once_and_needs_no_job(alice_client, preview):
    answer = _send(alice_client, preview, licence="CC0 1.0", source="field 17")
    assert answer.url == f"/datasets/{preview.dataset.uuid}?version={preview.uuid}"
    preview.refresh_from_db()
    assert preview.frozen
    assert not Job.objects.exists()
    dataset = Dataset.objects.get()
    assert (dataset.licence, dataset.source) == ("CC0 1.0", "field 17")
    assert "weeds v1 is frozen." in _text(alice_client.get(answer.url))


def test_exchanging_the_two_names_shows_in_the_form_and_in_the_drawn_boxes_without_a_script(alice_client, preview):
    page = _page(alice_client, preview)
    fields = dict(page.context["exchange"])
    assert (fields["name-0"], fields["name-1"]) == ("weed", "crop")
    exchanged = alice_client.get(reverse("dataset-detail", args=[preview.dataset.uuid]), fields)
    assert _labels(exchanged) == [["weed", "crop"], ["weed"], []]
    assert 'name="name-0" value="weed"' in exchanged.content.decode()
    assert "Crop renamed weed and weed renamed crop: the two names are exchanged." in _text(exchanged)
    back = dict(exchanged.context["exchange"])
    assert (back["name-0"], back["name-1"]) == ("crop", "weed")


def test_names_that_are_exchanged_stay_so_on_the_next_page_of_images(alice_client):
    many = tuple((f"{number:03}.png", "train", 2) for number in range(30))
    version = make_stored_dataset(images=many, frozen=False)
    page = _page(alice_client, version, **{"name-0": "weed", "name-1": "crop"})
    following = re.search(r'href="(\?[^"]*page=2[^"]*)#images"', page.content.decode())[1].replace("&amp;", "&")
    second = alice_client.get(reverse("dataset-detail", args=[version.dataset.uuid]) + following)
    assert _labels(second)[0] == ["weed", "crop"]


def test_a_data_set_of_three_classes_offers_no_exchange(alice_client, preview):
    preview.classes = ["a", "b", "c"]
    preview.save()
    page = _page(alice_client, preview)
    assert page.context["exchange"] is None
    assert "Exchange the two names" not in _text(page)


def test_merged_and_dropped_classes_show_in_the_drawn_boxes(alice_client, preview):
    merged = _page(alice_client, preview, **{"name-1": "crop"})
    assert _labels(merged) == [["crop", "crop"], ["crop"], []]
    assert [box.colour for box in merged.context["drawn"][0].boxes] == [0, 0]
    assert merged.context["drawn"][0].alt == "a.png with 2 crop"
    dropped = _page(alice_client, preview, **{"drop-0": "on"})
    assert _labels(dropped) == [["weed"], [], []]
    assert "Boxes of crop dropped, their images kept." in _text(dropped)


def test_a_button_draws_the_typed_names_where_there_is_no_script(alice_client, preview):
    answer = _send(alice_client, preview, act="draw", **{"name-0": "sesame", "val": "20"})
    assert answer.url == f"/datasets/{preview.dataset.uuid}?val=20&name-0=sesame&version={preview.uuid}#naming"
    page = alice_client.get(answer.url)
    assert _labels(page)[1] == ["sesame"]
    assert page.context["form"]["val"].value() == "20"
    assert not Job.objects.exists()


def test_freezing_with_changes_queues_a_job_that_reads_the_stored_file(alice_client, preview, alice):
    answer = _send(alice_client, preview, **{"name-0": "weed", "name-1": "crop", "licence": "CC0"})
    job = Job.objects.get()
    assert answer.url == f"/jobs/{job.uuid}"
    assert job.created_by == alice
    spec = job.spec
    assert spec["source"]["sha256"] == preview.artifact_id
    assert (spec["name"], spec["preview"], spec["licence"]) == ("weeds", False, "CC0")
    assert spec["edits"] == {"rename": {"crop": "weed", "weed": "crop"}, "drop": [], "split": None}
    preview.refresh_from_db()
    assert not preview.frozen
    assert "the two names are exchanged" in _text(alice_client.get(answer.url))


def test_a_second_click_on_the_same_form_queues_nothing_twice(alice_client, preview):
    token = "5f0c5f6e-0000-4000-8000-000000000001"
    first = _send(alice_client, preview, token=token, **{"name-0": "sesame"})
    assert _send(alice_client, preview, token=token, **{"name-0": "sesame"}).url == first.url
    assert _send(alice_client, preview, token=token, **{"name-0": "plant"}).url != first.url
    assert Job.objects.count() == 2


@pytest.mark.parametrize(
    ("fields", "split"),
    [
        ({"deal": "seed", "val": "20", "test": "10", "seed": "7"}, {"by": "seed", "seed": 7, "val": 0.2, "test": 0.1}),
        ({"deal": "group", "val": "25", "test": "0", "group_pattern": r"^(flight\d+)_"}, {"by": "group", "val": 0.25, "test": 0.0}),
        ({"deal": "list", "val_files": "b.png\r\n\r\n c.png "}, {"by": "list", "lists": {"val": ["b.png", "c.png"]}}),
        ({"deal": "list", "val_files": "D:\\flights\\b.png"}, {"by": "list", "lists": {"val": ["D:\\flights\\b.png"]}}),
    ],
)
def test_splits_are_made_by_seed_by_group_or_by_list(alice_client, preview, fields, split):
    _send(alice_client, preview, **fields)
    asked = Job.objects.get().spec["edits"]["split"]
    assert {name: asked[name] for name in split} == split
    assert asked["group_pattern"] == fields.get("group_pattern", "")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name-0": " "}, "give &#x27;crop&#x27; a name, or drop it"),
        ({"drop-0": "on", "drop-1": "on"}, "every class is to be dropped; keep at least one"),
        ({"deal": "seed", "val": "60", "test": "40"}, "val and test together leave nothing to train on"),
        ({"deal": "group", "group_pattern": "(flight"}, "&#x27;(flight&#x27; is no regular expression"),
        ({"deal": "group", "group_pattern": "a{99999999999}"}, "is no regular expression"),
        ({"deal": "group", "group_pattern": "(" * 190 + "a" + ")" * 9}, "is no regular expression"),
        ({"deal": "group", "group_pattern": ""}, "the images carry no groups; give a pattern"),
        ({"deal": "list"}, "paste at least one file name into one of the lists"),
        ({"deal": "list", "val_files": "b.png\nnowhere.png"}, "no image is called &#x27;nowhere.png&#x27;"),
        ({"name-0": "x" * 101}, "at most 100 characters"),
    ],
)
def test_what_cannot_be_done_is_said_at_the_field_and_changes_nothing(alice_client, preview, fields, sentence):
    answer = _send(alice_client, preview, **fields)
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert not Job.objects.exists()
    preview.refresh_from_db()
    assert not preview.frozen


def test_a_frozen_version_is_changed_into_a_new_one_and_stays_as_it_is(alice_client):
    version = make_stored_dataset("weeds")
    page = _page(alice_client, version, edit="1")
    assert "Changes make a new version out of version 1, which stays as it is." in _text(page)
    assert "Make a new version" in _text(page)
    answer = _send(alice_client, version, **{"drop-1": "on"})
    assert answer.url == f"/jobs/{Job.objects.get().uuid}"
    assert _send(alice_client, version).status_code == 400
    version.refresh_from_db()
    assert version.frozen


def test_licence_and_source_of_a_frozen_version_change_without_a_new_version(alice_client):
    version = make_stored_dataset("weeds")
    _send(alice_client, version, licence="CC0", source="somebody")
    assert Dataset.objects.get().licence == "CC0"
    assert (Job.objects.count(), DatasetVersion.objects.count()) == (0, 1)


def test_the_address_that_freezes_leads_back_to_the_page_when_it_is_opened(alice_client, preview):
    answer = alice_client.get(reverse("dataset-freeze", args=[preview.uuid]), {"page": "2"})
    assert answer.url == f"/datasets/{preview.dataset.uuid}?page=2&version={preview.uuid}"


def test_thousands_of_classes_fit_into_the_form(alice_client, preview):
    preview.classes = [f"class {number}" for number in range(1300)]
    preview.save()
    assert _page(alice_client, preview).status_code == 200
    _send(alice_client, preview, **{"name-1299": "last"})
    assert Job.objects.get().spec["edits"]["rename"] == {"class 1299": "last"}
