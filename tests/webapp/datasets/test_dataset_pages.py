"""Pages of data sets: counts, health by file, images with their boxes."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from tests.factories import make_checkpoint, make_dataset_version
from tests.page_factories import make_stored_dataset
from webapp.artifacts.services import artifact_remove, storage_key
from webapp.datasets.models import Dataset

pytestmark = pytest.mark.django_db


def _text(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def _page(client, version, /, **query):
    return client.get(reverse("dataset-detail", args=[version.dataset.uuid]), query)


def test_with_no_data_set_the_page_offers_the_one_action(client):
    page = client.get("/datasets")
    assert "No data set yet" in _text(page)
    assert 'href="/datasets/new">Import a data set' in page.content.decode()


def test_a_data_set_shows_its_newest_version_with_images_boxes_and_classes(client):
    make_dataset_version("bccd", number=1)
    make_dataset_version("bccd", number=2)
    text = _text(client.get("/datasets"))
    assert "bccd v2 of 2 205 87 72" in text
    assert "Platelets, RBC, WBC" in text
    assert "4 368" in text


def test_a_preview_stands_for_a_data_set_that_has_nothing_frozen_and_is_marked(client):
    first = make_stored_dataset(frozen=False)
    assert "v1 preview" in _text(client.get("/datasets"))
    assert _page(client, first).templates[0].name == "datasets/preview.html"
    frozen = make_stored_dataset(number=2)
    make_stored_dataset(number=3, frozen=False)
    assert "v2 of 3 2 previews" in _text(client.get("/datasets"))
    assert _page(client, first).context["version"] == frozen


def test_a_data_set_whose_import_has_not_finished_is_not_listed(client):
    Dataset.objects.create(name="pending")
    assert "pending" not in _text(client.get("/datasets"))
    assert client.get(reverse("dataset-detail", args=[Dataset.objects.get().uuid])).status_code == 404


def test_the_list_takes_the_same_number_of_queries_with_many_data_sets(client, django_assert_max_num_queries):
    def queries():
        with django_assert_max_num_queries(10) as found:
            client.get("/datasets")
        return len(found)

    make_dataset_version("one")
    first = queries()
    for number in range(15):
        make_dataset_version(f"set {number}", number=1)
        make_dataset_version(f"set {number}", number=2)
    assert queries() == first


def test_splits_and_classes_are_counted(client):
    page = _page(client, make_stored_dataset())
    text = _text(page)
    assert "train 1 2 2.0" in text
    assert "val 1 1 1.0" in text
    assert [(row.name, row.counts, row.total) for row in page.context["classes"]] == [("crop", (1, 1, 0), 2), ("weed", (1, 0, 0), 1)]


def test_an_older_version_can_be_looked_at(client):
    old, new = make_stored_dataset(number=1), make_stored_dataset(number=2)
    assert _page(client, new).context["version"] == new
    assert _page(client, new, version=str(old.uuid)).context["version"] == old
    assert _page(client, new, version="nonsense").status_code == 404


def test_every_image_is_drawn_with_its_boxes_and_described_for_those_who_cannot_see_it(client):
    page = _page(client, make_stored_dataset()).content.decode()
    assert 'alt="a.png with 1 crop, 1 weed"' in page
    assert 'alt="c.png, no boxes"' in page
    assert '<svg viewBox="0 0 64 48" aria-hidden="true">' in page
    assert '<rect class="box box-0" x="4.0" y="5.0" width="16.0" height="14.0"><title>crop</title></rect>' in page
    assert '<rect class="box box-1" x="10.0" y="9.0" width="16.0" height="14.0"><title>weed</title></rect>' in page
    assert "style=" not in page


def test_images_can_be_narrowed_to_a_split_and_are_paged(client):
    many = tuple((f"{number:03}.png", "train" if number % 2 else "val", 1) for number in range(60))
    version = make_stored_dataset(images=many)
    assert len(_page(client, version).context["drawn"]) == 24
    assert len(_page(client, version, page=3).context["drawn"]) == 12
    val = _page(client, version, split="val")
    assert {picture.image.split for picture in val.context["drawn"]} == {"val"}
    assert "split=val&amp;page=2" in val.content.decode().replace("page=2&amp;split=val", "split=val&amp;page=2")


def test_images_can_be_narrowed_to_a_class_and_sorted_by_their_boxes(client):
    version = make_stored_dataset(images=(("a.png", "train", 1), ("b.png", "val", 4), ("c.png", "test", 0), ("d.png", "train", 2)))

    def shown(**query):
        return [picture.image.file for picture in _page(client, version, **query).context["drawn"]]

    assert shown() == ["a.png", "b.png", "c.png", "d.png"]
    assert shown(sort="most") == ["b.png", "d.png", "a.png", "c.png"]
    assert shown(sort="fewest") == ["c.png", "a.png", "d.png", "b.png"]
    assert shown(**{"class": "weed"}) == ["b.png", "d.png"]
    assert shown(**{"class": "weed", "split": "train", "sort": "most"}) == ["d.png"]
    assert "No image is like that." in _text(_page(client, version, **{"class": "weed", "split": "test"}))


def test_a_version_with_changes_tells_them_one_step_after_the_other(client):
    steps = [{"rename": {"weed": "crop", "crop": "weed"}}, {"drop": ["weed"], "split": {"by": "seed", "val": 0.2, "test": 0.1}}]
    text = _text(_page(client, make_stored_dataset(edits={"steps": steps})))
    assert "crop renamed weed and weed renamed crop: the two names are exchanged" in text
    assert "boxes of weed dropped, their images kept; divided anew: 20% val and 10% test, the rest train, by seed 0" in text


def test_leaks_name_both_images_and_link_to_them(client):
    leak = {"first": "a.png", "first_split": "train", "second": "b.png", "second_split": "val", "exact": False, "distance": 3}
    version = make_stored_dataset(leaks={"checked": 3, "exact": 0, "near": 1, "leaks": [leak]})
    page = _page(client, version)
    assert "1 pair of images stands in two splits" in _text(page)
    assert "3 of 64 bits apart" in _text(page)
    assert f'<a class="leaking" href="{reverse("dataset-picture", args=[version.uuid, 2])}">' in page.content.decode()
    clean = make_stored_dataset("clean", leaks={"checked": 3, "exact": 0, "near": 0, "leaks": []})
    assert "None of 3 images stands in two splits" in _text(_page(client, clean))


def test_box_sizes_are_shown_in_the_file_and_at_a_chosen_network_input(client):
    sizes = {"edges": [0, 8, 32, 96], "counts": [1, 4, 2]}
    statistics = {
        "image_sizes": {"64x48": 3},
        "boxes_per_image": {"edges": [0, 1, 5, 10], "counts": [1, 2, 0]},
        "original": sizes,
        "at_input": {"320": sizes, "640": {"edges": [0, 8, 32, 96], "counts": [0, 1, 6]}},
        "per_class": {"crop": sizes, "weed": sizes},
    }
    version = make_stored_dataset(statistics=statistics)
    page = _page(client, version)
    assert [(bar.words, bar.count, bar.share) for bar in page.context["sizes"].original] == [
        ("0 to 8 px", 1, 25.0),
        ("8 to 32 px", 4, 100.0),
        ("32 px and more", 2, 50.0),
    ]
    assert [bar.count for bar in page.context["sizes"].at_input] == [1, 4, 2]
    assert [bar.words for bar in page.context["sizes"].boxes_per_image] == ["0", "1 to 4", "5 and more"]
    assert [bar.count for bar in _page(client, version, input="640").context["sizes"].at_input] == [0, 1, 6]
    assert "style=" not in page.content.decode()
    assert not _page(client, make_stored_dataset("old")).context["sizes"]


def test_an_image_comes_as_it_was_imported_and_once(client):
    version = make_stored_dataset()
    address = reverse("dataset-image", args=[version.uuid, 2])
    first = client.get(address)
    assert first["Content-Type"] == "image/png"
    assert first.content.startswith(b"\x89PNG")
    assert "immutable" in first["Cache-Control"]
    again = client.get(address, headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert client.get(reverse("dataset-image", args=[version.uuid, 1])).content != first.content


def test_what_is_no_image_of_the_data_set_is_not_found(client):
    version = make_stored_dataset(images=(("a.png", "train", 1), ("page.html", "train", 0)))
    for number in (0, 2, 3):
        assert client.get(reverse("dataset-image", args=[version.uuid, number])).status_code == 404


def test_one_image_is_shown_large_with_its_boxes_listed_and_its_neighbours_linked(client):
    version = make_stored_dataset()
    page = client.get(reverse("dataset-picture", args=[version.uuid, 1]))
    assert "crop 4 5 16 14" in _text(page)
    assert "Previous" not in _text(page)
    assert reverse("dataset-picture", args=[version.uuid, 2]) in page.content.decode()
    assert "Next" not in _text(client.get(reverse("dataset-picture", args=[version.uuid, 3])))


def test_problems_are_counted_and_listed_by_file(client):
    version = make_stored_dataset()
    issues = [{"file": f"{number}.jpg", "problem": "box 1 has the width 0", "action": "left out"} for number in range(45)]
    version.report = {"issues": issues, "counts": {"zero_size_box": 45, "missing_file": 3}}
    version.save()
    text = _text(_page(client, version))
    assert "48 problems: zero size box (45), missing file (3)" in text
    assert "the first 45" in text
    assert "0.jpg box 1 has the width 0 left out" in text
    assert "44.jpg" in _text(_page(client, version, issues=3))


def test_a_data_set_without_problems_says_what_was_looked_for(client):
    assert "No zero-size box, missing file, unknown class or duplicate was found." in _text(_page(client, make_stored_dataset()))


def test_checkpoints_trained_on_it_are_linked(client):
    version = make_stored_dataset()
    checkpoint = make_checkpoint(dataset_version=version)
    page = _page(client, version)
    assert reverse("checkpoint-download", args=[checkpoint.uuid]) in page.content.decode()
    assert "41.0" in _text(page)


def test_when_the_stored_file_is_gone_the_page_says_so_and_still_shows_the_counts(client, own_storage):
    version = make_stored_dataset("gone", images=(("only.png", "train", 1),))
    (own_storage / storage_key(version.artifact_id)).unlink()
    text = _text(_page(client, version))
    assert "The stored file of this version is gone" in text
    assert "train 1 1 1.0" in text
    assert client.get(reverse("dataset-image", args=[version.uuid, 1])).status_code == 404
    assert not artifact_remove(sha256=version.artifact_id)
