"""Evaluated images: the grid with its filters, one image, two evaluations side by side, suspected label errors, the file itself."""

from __future__ import annotations

import csv
import gzip
import io
import re
from html.parser import HTMLParser

import pytest

from tests.detection_core.evaluation.cases import found, truth
from tests.factories import make_dataset_version, make_job, make_result, sha
from tests.gallery_factories import (
    detections_from,
    give_broken_examples,
    ground_truth_of,
    make_evaluated,
    make_fields,
    make_scored,
)
from webapp.accounts.services import token_create
from webapp.artifacts.services import storage_key
from webapp.gallery import examples as examples_module
from webapp.gallery.counts import AtScore
from webapp.gallery.examples import examples_of
from webapp.gallery.selectors import differences, listed, wanted_images
from webapp.results.selectors import output_of

pytestmark = pytest.mark.django_db
FALSE_KINDS = ("cls", "loc", "both", "dupe", "bkg")


def text_of(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def images_of(response) -> list[int]:
    return [
        int(number)
        for number in re.findall(r'class="picture-frame[^"]*" href="/evaluations/[^/]+/images/(-?\d+)', response.content.decode())
    ]


def address(job, tail: str = "images") -> str:
    return f"/evaluations/{job.uuid}/{tail}"


class Boxes(HTMLParser):
    """Collects what the boxes of a page say of themselves."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.groups: list[dict[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        named = dict(attrs)
        if tag == "g" and "data-score" in named:
            self.groups.append(named)

    def count(self, *classes: str, without: str = "-") -> int:
        chosen = [group["class"].split() for group in self.groups]
        return sum(set(classes) <= set(names) and without not in names and "truth-word" not in names for names in chosen)


@pytest.fixture
def fields():
    return make_fields(images=6, size=128)


@pytest.fixture
def evaluated(fields):
    return make_evaluated(fields, skill=0.5)


def by_hand():
    """Three images: a find, a wrong class and a miss on the first; a false alarm on the second; nothing wrong on the third."""
    ground_truth = truth(
        [
            (1, 1, (10, 10, 20, 20), 0),
            (1, 1, (100, 10, 50, 50), 0),
            (1, 2, (300, 200, 100, 100), 0),
            (3, 2, (300, 200, 100, 100), 0),
        ],
        images=3,
        classes=2,
    )
    detections = found(
        (1, 1, (10, 10, 20, 20), 0.9),
        (1, 2, (100, 10, 50, 50), 0.8),
        (2, 1, (10, 10, 200, 200), 0.7),
        (3, 2, (300, 200, 100, 100), 0.6),
    )
    return ground_truth, detections


def test_the_numbers_of_the_page_are_those_of_the_accuracy_card(client, evaluated):
    page = client.get(address(evaluated.job)).content.decode()
    point = evaluated.job.result["accuracy"]["operating_point"]
    shown = dict(re.findall(r'data-number="(\w+)">([^<]+)<', page))
    assert shown["precision"] == f"{100 * point['precision']:.1f}"
    assert shown["recall"] == f"{100 * point['recall']:.1f}"
    assert shown["f1"] == f"{100 * point['f1']:.1f}"
    assert shown["false_per_image"] == f"{point['false_positives_per_image']:.2f}"
    assert (int(shown["right"]), int(shown["false"])) == (point["true_positives"], point["false_positives"])
    assert int(shown["missed"]) == point["ground_truths"] - point["true_positives"]


def test_the_boxes_that_are_drawn_add_up_to_these_numbers_at_any_score(client, evaluated):
    for score in ("", "0.6"):
        page = client.get(address(evaluated.job), {"score": score}).content.decode()
        shown = dict(re.findall(r'data-number="(\w+)">([^<]+)<', page))
        boxes = Boxes(page)
        assert boxes.count("seen-tp", without="off") == int(shown["right"])
        # Those that are wrong carry a letter, and so does the key.
        assert page.count(">F</text>") - 1 == sum(boxes.count(f"seen-{kind}") for kind in FALSE_KINDS) // 2
        assert sum(boxes.count(f"seen-{kind}", without="off") for kind in FALSE_KINDS) // 2 == int(shown["false"])
        assert boxes.count("truth", "missed") == int(shown["missed"])


def test_without_scripts_a_score_is_asked_for_by_the_address(client, evaluated):
    page = client.get(address(evaluated.job), {"score": "0.6", "class": "weed"})
    assert 'name="score" min="0" max="1" step="any" value="0.600"' in page.content.decode()
    assert '<input type="hidden" name="class" value="weed">' in page.content.decode()
    assert "listed at score 0.600" in text_of(page)


def test_pictures_come_scaled_from_the_data_set(client, evaluated):
    page = client.get(address(evaluated.job)).content.decode()
    first = evaluated.ground_truth["images"][0]["id"]
    picture = f"/datasets/images/{evaluated.version.uuid}/{first}/file?width=320"
    assert picture in page
    assert client.get(picture).status_code == 200
    assert "style=" not in page.split("</head>")[1]


@pytest.mark.parametrize(
    ("query", "images"),
    [
        ({}, [1, 2, 3]),
        ({"shows": "tp"}, [1, 3]),
        ({"shows": "fp"}, [1, 2]),
        ({"shows": "miss"}, [1]),
        ({"shows": "miss", "class": "class 2"}, [1]),
        ({"shows": "miss", "size": "small"}, []),
        ({"shows": "miss", "size": "large", "class": "class 1"}, []),
        ({"shows": "tp", "size": "small"}, [1]),
        ({"shows": "tp", "size": "large"}, [3]),
        ({"error": "cls"}, [1]),
        ({"error": "bkg"}, [2]),
        ({"error": "loc"}, []),
        ({"error": "miss"}, [1]),
        ({"error": "miss", "class": "class 1"}, []),
        ({"shows": "fp", "error": "bkg"}, [2]),
        ({"class": "class 1"}, [1, 2]),
        ({"class": "class 2", "size": "large"}, [1, 3]),
        ({"score": "0.75"}, [1, 3, 2]),
        ({"score": "0.75", "shows": "miss"}, [1, 3]),
        ({"score": "0.75", "shows": "fp"}, [1]),
        ({"sort": "weakest"}, [3, 1, 2]),
        ({"shows": "nonsense", "error": "7", "class": "x", "size": "huge", "sort": "?", "group": "no", "page": "x"}, [1, 2, 3]),
    ],
)
def test_each_filter_keeps_the_images_that_have_what_it_names(client, query, images):
    job = make_scored(*by_hand())
    assert images_of(client.get(address(job), query)) == images


def test_a_miss_that_something_else_explains_is_missed_but_no_error_of_the_kind_miss(client):
    ground_truth = truth([(1, 1, (10, 10, 50, 50), 0)], classes=2)
    job = make_scored(ground_truth, found((1, 2, (10, 10, 50, 50), 0.8), (1, 2, (300, 10, 50, 50), 0.8)))
    assert images_of(client.get(address(job), {"shows": "miss", "score": "0.5"})) == [1]
    assert images_of(client.get(address(job), {"error": "miss", "score": "0.5"})) == []


def test_a_find_has_the_size_of_its_object(client):
    ground_truth = truth([(1, 1, (10, 10, 31, 31), 0)])
    job = make_scored(ground_truth, found((1, 1, (10, 10, 36, 36), 0.9)))
    assert images_of(client.get(address(job), {"shows": "tp", "size": "small"})) == [1]
    assert images_of(client.get(address(job), {"shows": "tp", "size": "medium"})) == []


def test_groups_filter_and_files_sort(client, evaluated):
    groups = examples_of(output_of(evaluated.job, "examples")).groups
    page = client.get(address(evaluated.job), {"group": groups[0], "sort": "file"})
    assert 0 < len(images_of(page)) < 6
    assert groups[0] in text_of(page)
    files = re.findall(r'picture-name mono">([^<]+)<', client.get(address(evaluated.job), {"sort": "file"}).content.decode())
    assert files == sorted(files) and len(files) == 6


def test_images_come_by_pages_of_24(client):
    ground_truth = truth([(number, 1, (10, 10, 50, 50), 0) for number in range(1, 31)], images=30)
    job = make_scored(ground_truth, found((1, 1, (10, 10, 50, 50), 0.9)))
    assert len(images_of(client.get(address(job)))) == 24
    second = client.get(address(job), {"page": "2"})
    assert len(images_of(second)) == 6
    assert "30 images" in text_of(second)


def test_no_image_passes_is_said_with_a_way_back(client):
    job = make_scored(*by_hand())
    assert "No image is like that" in text_of(client.get(address(job), {"error": "loc"}))


def test_one_image_lists_its_objects_and_detections_with_their_partners(client):
    job = make_scored(*by_hand())
    text = text_of(client.get(address(job, "images/1"), {"score": "0.5"}))
    assert "1 class 1 0.900 right 1 1.00" in text
    assert "2 class 2 0.800 wrong class 2 1.00" in text
    assert "1 class 1 small by detection 1" in text
    assert "3 class 2 large by detection – missed" in text
    assert "1 found · 1 false · 2 missed" in text


def test_previous_and_next_stay_within_the_filter(client):
    job = make_scored(*by_hand())
    page = client.get(address(job, "images/1"), {"shows": "tp", "score": "0.5"}).content.decode()
    assert f'href="/evaluations/{job.uuid}/images/3?shows=tp&amp;score=0.5"' in page
    assert 'rel="prev"' not in page
    assert "does not pass the filter" in text_of(client.get(address(job, "images/2"), {"shows": "tp", "score": "0.5"}))


def test_an_image_id_below_zero_has_a_page_and_an_unknown_one_none(client):
    ground_truth = truth([(1, 1, (10, 10, 50, 50), 0)])
    ground_truth["images"][0]["id"] = ground_truth["annotations"][0]["image_id"] = -4
    job = make_scored(ground_truth, found((-4, 1, (10, 10, 50, 50), 0.9)))
    assert images_of(client.get(address(job))) == [-4]
    assert client.get(address(job, "images/-4")).status_code == 200
    assert client.get(address(job, "images/5")).status_code == 404


def test_names_from_elsewhere_cannot_write_into_the_page(client):
    ground_truth, detections = by_hand()
    ground_truth["categories"][0]["name"] = '<script>alert(1)</script>"'
    ground_truth["images"][0]["file_name"] = '"><img src=x onerror=alert(1)>'
    job = make_scored(ground_truth, detections, name="<b>rival</b>")
    for tail in ("images", "images/1", "suspects"):
        page = client.get(address(job, tail), {"score": "0.5", "class": '"><script>'}).content.decode()
        assert "<script>alert" not in page and "<img src=x" not in page and "<b>rival" not in page


def test_a_file_scored_against_a_truth_file_has_boxes_without_pictures(client):
    page = client.get(address(make_scored(*by_hand())))
    assert "<img" not in page.content.decode()
    assert "The pictures are not on this site" in text_of(page)


def test_a_file_that_the_data_set_does_not_have_under_this_number_is_not_shown(client, fields):
    ground_truth = ground_truth_of(fields)
    ground_truth["images"][0]["file_name"] = "images/another.jpg"
    job = make_scored(ground_truth, detections_from(ground_truth))
    job.result["dataset_sha256"], job.result["split"] = fields.content_hash, "test"
    job.save()
    page = client.get(address(job), {"sort": "file"}).content.decode()
    assert page.count("<img") == 5


def test_a_data_set_whose_file_is_gone_is_said(client, evaluated, settings, tmp_path):
    from django.core.files.storage import default_storage

    from webapp.datasets import archive

    default_storage.delete(storage_key(evaluated.version.artifact_id))
    archive._kept.clear()
    page = client.get(address(evaluated.job))
    assert "are gone from the artifact storage" in text_of(page)
    assert page.content.decode().count("<svg viewBox") > 6


def test_an_evaluation_without_images_says_so(client):
    job = make_result().evaluation.job
    page = client.get(address(job))
    assert "No images were kept with this evaluation" in text_of(page)
    for tail in ("suspects", "differences", "images/1"):
        assert client.get(address(job, tail)).status_code == 200
    assert client.get(address(make_job("train"))).status_code == 404
    assert client.get(address(make_job("evaluate", state="running"))).status_code == 404


@pytest.mark.parametrize(
    "content",
    [b"no gzip", b"\x1f\x8b", gzip.compress(b'{"images": [{"id": 1'), gzip.compress(b"[]")],
    ids=["no gzip", "gzip that ends at once", "half a document", "another document"],
)
def test_a_broken_file_is_no_crash(client, content):
    job = make_result().evaluation.job
    give_broken_examples(job, content)
    assert client.get(address(job)).status_code == 404


def test_a_file_is_read_once_and_only_the_last_few_are_kept(client, monkeypatch):
    jobs = [make_scored(truth([(1, 1, (10, 10, 50 + number, 50), 0)]), found((1, 1, (10, 10, 50, 50), 0.9))) for number in range(10)]
    read, real = [], examples_module._read
    monkeypatch.setattr(examples_module, "_kept", {})
    monkeypatch.setattr(examples_module, "_read", lambda artifact: read.append(artifact.pk) or real(artifact))
    for job in [*jobs, jobs[-1], jobs[-1]]:
        client.get(address(job))
    assert len(read) == 10
    assert len(examples_module._kept) == examples_module.MOST_KEPT


def test_differences_put_the_largest_first_and_leave_equal_images_out(client):
    ground_truth, detections = by_hand()
    first = make_scored(ground_truth, detections)
    # The second finds all, but raises three false alarms on the third image.
    alarms = [(3, 1, (10 + 60 * number, 10, 30, 30), 0.9) for number in range(3)]
    rows = [(entry["image_id"], entry["category_id"], tuple(entry["bbox"]), 0.9) for entry in ground_truth["annotations"]]
    second = make_scored(ground_truth, found(*rows, *alarms), name="other.json")
    at = [AtScore(examples_of(output_of(job, "examples")), 0.6) for job in (first, second)]
    found_differences = differences(*at)
    assert [(row.place, row.first_errors, row.second_errors) for row in found_differences.rows] == [(0, 3, 0), (2, 0, 3), (1, 1, 0)]
    assert differences(at[0], at[0]).equal == 3
    page = client.get(address(first, f"differences/{second.uuid}"))
    assert "Listed by the difference of errors" in text_of(page)
    assert images_of(page) == [1, 1, 3, 3, 2, 2]
    assert images_of(client.get(address(first, f"differences/{second.uuid}"), {"better": "first"})) == [3, 3]


@pytest.mark.parametrize(
    ("split", "content", "sentence"),
    [
        ("val", "same", "One was evaluated on the test split, the other on val"),
        ("test", "other", "on different data sets"),
    ],
)
def test_two_that_do_not_share_their_images_are_not_compared(client, fields, split, content, sentence):
    first, second = make_evaluated(fields), make_evaluated(fields, model="ssd_resnet10", split=split)
    if content == "other":
        second.job.result["dataset_sha256"] = sha("other")
        second.job.save()
    page = client.get(address(first.job, f"differences/{second.job.uuid}"))
    assert page.status_code == 200
    assert sentence in text_of(page)
    assert images_of(page) == []


def test_one_evaluation_is_not_compared_with_itself_nor_with_one_without_images(client, fields):
    first = make_evaluated(fields)
    assert "one evaluation twice" in text_of(client.get(address(first.job, f"differences/{first.job.uuid}")))
    bare = make_result(dataset_version=make_dataset_version()).evaluation.job
    assert "No images were kept" in text_of(client.get(address(first.job, f"differences/{bare.uuid}")))


def test_other_evaluations_of_the_same_images_are_offered(client, fields):
    first, second = make_evaluated(fields), make_evaluated(fields, model="ssd_resnet10")
    make_evaluated(fields, model="ssd_resnet18", split="val")
    page = client.get(address(first.job, "differences"))
    assert f'<a href="/evaluations/{first.job.uuid}/differences/{second.job.uuid}">SSD ResNet-10' in page.content.decode()
    assert "ResNet-18" not in text_of(page)
    lone = make_scored(*by_hand(), truth_sha256="b" * 64)
    assert "No other evaluation of these images yet" in text_of(client.get(address(lone, "differences")))


def test_suspects_are_listed_with_a_crop_the_sentence_and_a_link(client, evaluated):
    examples = examples_of(output_of(evaluated.job, "examples"))
    assert examples.suspects
    page = client.get(address(evaluated.job, "suspects"))
    first = examples.suspects[0]
    assert first.words in text_of(page)
    assert f"/evaluations/{evaluated.job.uuid}/images/{first.image}" in page.content.decode()
    assert "<image href" in page.content.decode()
    one_kind = client.get(address(evaluated.job, "suspects"), {"kind": first.kind})
    assert len(images_of(one_kind)) == min(24, sum(suspect.kind == first.kind for suspect in examples.suspects))
    assert first.words in text_of(client.get(address(evaluated.job, f"images/{first.image}")))


def test_suspects_as_csv_hold_all_of_them_and_no_formula(client):
    ground_truth = truth([(1, 1, (10, 10, 50, 50), 0)], classes=2)
    ground_truth["images"][0]["file_name"] = "=cmd.jpg"
    rows = found((1, 1, (10, 10, 50, 50), 0.9), (1, 1, (300, 200, 60, 60), 0.9))
    job = make_scored(ground_truth, rows)
    answer = client.get(address(job, "suspects"), {"format": "csv"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["file"], row["kind"], row["labelled"], row["seen"]) == ("'=cmd.jpg", "missing label", "", "class 1")
    assert [float(row[name]) for name in ("x1", "y1", "x2", "y2")] == [300, 200, 360, 260]
    assert row["page"] == address(job, "images/1")


def test_no_suspect_is_said(client):
    ground_truth = truth([(1, 1, (10, 10, 50, 50), 0)])
    job = make_scored(ground_truth, found((1, 1, (10, 10, 50, 50), 0.9)))
    assert "No label is suspected" in text_of(client.get(address(job, "suspects")))


def test_the_api_leads_to_the_file_on_a_site_that_only_its_users_read(client, alice, evaluated, settings):
    settings.PUBLIC_READ = False
    plain = token_create(user=alice, name="a script")
    with_token = {"headers": {"Authorization": f"Bearer {plain}"}}
    address = f"/api/v1/evaluations/{evaluated.job.uuid}/examples"
    assert client.get(address).status_code == 401
    answer = client.get(address, **with_token)
    assert answer.status_code == 302
    assert answer["Location"] == f"/api/v1/artifacts/{output_of(evaluated.job, 'examples').sha256}"
    assert client.get(answer["Location"], **with_token).headers["Content-Type"] == "application/octet-stream"
    settings.PUBLIC_READ = True
    assert client.get(f"/api/v1/evaluations/{make_job('train').uuid}/examples").status_code == 404


def test_pages_take_few_queries_however_many_images(client, evaluated, django_assert_max_num_queries):
    for tail in ("images", f"images/{evaluated.ground_truth['images'][0]['id']}", "suspects"):
        client.get(address(evaluated.job, tail))
        with django_assert_max_num_queries(8):
            client.get(address(evaluated.job, tail))


def test_the_list_asks_for_nothing_that_the_address_does_not_name():
    ground_truth, detections = by_hand()
    examples = examples_of(output_of(make_scored(ground_truth, detections), "examples"))
    wanted = wanted_images(examples, {})
    assert not wanted.narrowed
    assert sorted(listed(AtScore(examples, wanted.score), wanted)) == [0, 1, 2]
