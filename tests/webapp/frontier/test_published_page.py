"""Published figures stand apart from measured ones, and beside them only as claims."""

from __future__ import annotations

import pytest

from detection_core.catalogue.published import claims_for, drawable, published_hardware, published_results
from tests.factories import make_dataset_version, make_result
from webapp.frontier.figures import published_figure
from webapp.frontier.published import PublishedFilters, claims, published_points

COCO_SPLITS = {"train": {"images": 10, "boxes": 1, "per_class": {}}, "val": {"images": 5000, "boxes": 1, "per_class": {}}}


def test_every_row_of_the_file_is_read_with_its_source():
    rows = published_results()
    assert len(rows) == 651
    assert all(row.source and row.source_title for row in rows)
    assert all(row.ap is None or 0 < row.ap < 1 for row in rows)


def test_published_figures_of_torchvision_agree_with_the_catalogue():
    from detection_core.catalogue.detectors import DETECTORS

    both = {name: [row.ap for row in claims_for(name)] for name, entry in DETECTORS.items() if entry.published_ap and claims_for(name)}
    assert len(both) >= 8
    assert all(DETECTORS[name].published_ap in found for name, found in both.items()), both


def test_a_time_at_another_batch_is_never_drawn_as_a_latency():
    assert any(row.batch == "32" for row in published_results())
    assert all(row.batch in ("", "1") for row in published_results() if drawable(row))


def test_one_machine_is_drawn_at_a_time_hollow_and_without_a_line(client, db):
    hardware = published_hardware()[0][0]
    rows = published_points(PublishedFilters.from_query({"hardware": hardware}))
    figure = published_figure(rows)
    assert {row.hardware for row in rows} == {hardware}
    assert all(trace["mode"] == "markers" and trace["marker"]["symbol"].endswith("-open") for trace in figure["data"])
    assert sum(len(trace["x"]) for trace in figure["data"]) == len(rows)
    assert hardware in client.get("/published", {"hardware": hardware}).content.decode()


def test_filters_and_nonsense_in_the_address_do_no_harm(client, db):
    assert client.get("/published", {"hardware": "none", "nms": "perhaps", "family": "\x00"}).status_code == 200
    rows = published_points(PublishedFilters.from_query({"hardware": "NVIDIA T4", "nms": "yes"}))
    assert rows and all(row.includes_nms == "yes" for row in rows)


@pytest.mark.parametrize(("ap", "low", "high", "words"), [(0.26, 0.25, 0.27, "lies in the interval"), (0.31, 0.30, 0.32, "lies outside")])
def test_a_claim_is_judged_by_the_interval_on_the_same_images(db, ap, low, high, words):
    row = make_result(model="yolox_nano", ap=ap, dataset_version=make_dataset_version("coco-2017"), split="val")
    type(row).objects.filter(pk=row.pk).update(ap_low=low, ap_high=high)
    type(row.dataset_version).objects.filter(pk=row.dataset_version_id).update(splits=COCO_SPLITS)
    found = claims(model="yolox_nano")
    assert len(found) == 1 and found[0].claimed.ap == pytest.approx(0.258)
    assert words in found[0].words


def test_other_images_decide_nothing_about_a_claim(client, db):
    make_result(model="yolox_nano", ap=0.37, dataset_version=make_dataset_version("coco-mini"))
    assert "other images than those of the claim: no verdict" in client.get("/published").content.decode()
    assert "+11.2" in client.get("/models/yolox_nano/claims").content.decode()


def test_a_model_without_a_claim_says_so(client, db):
    assert "No published figure" in client.get("/models/fcos_resnet10_fpn/claims").content.decode()
    assert "Not measured here yet" in client.get("/models/fcos_resnet50_fpn/claims").content.decode()
