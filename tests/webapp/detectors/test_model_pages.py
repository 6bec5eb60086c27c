"""The catalogue's pages."""

from __future__ import annotations

import pytest
from django.utils.html import escape

from detection_core.catalogue.detectors import DETECTORS, FAMILIES
from tests.factories import make_result


def test_the_list_names_every_detector_and_how_each_family_works(client, db):
    page = client.get("/models").content.decode()
    for entry in DETECTORS.values():
        assert f"/models/{entry.name}" in page
    for family in FAMILIES.values():
        assert escape(family.how_it_works) in page


def test_the_search_looks_at_names_and_families(client, db):
    page = client.get("/models?search=retina").content.decode()
    assert "retinanet_resnet10_fpn" in page
    assert "ssd_resnet10" not in page


def test_a_search_that_finds_nothing_says_so_and_leads_back(client, db):
    page = client.get("/models?search=<b>zebra").content.decode()
    assert "No model has “&lt;b&gt;zebra”" in page
    assert "Show all models" in page


@pytest.mark.parametrize("name", DETECTORS)
def test_each_detector_has_a_page_with_licence_paper_and_remedy(client, db, name):
    page = client.get(f"/models/{name}").content.decode()
    entry = DETECTORS[name]
    assert entry.licence in page
    assert entry.paper_url in page
    assert escape(entry.imbalance_remedy) in page


def test_an_unknown_model_is_not_found(client, db):
    assert client.get("/models/yolo_of_everything").status_code == 404


def test_the_results_of_a_model_stand_on_its_page(client, db):
    row = make_result("fcos_resnet10_fpn", ap=0.371)
    make_result("ssd_resnet10", ap=0.222)
    part = client.get("/models/fcos_resnet10_fpn/results").content.decode()
    assert f"/results/{row.uuid}" in part
    assert "37.1" in part
    assert "22.2" not in part


def test_a_model_without_results_offers_to_make_one(client, db):
    part = client.get("/models/fcos_resnet10_fpn/results").content.decode()
    assert "No result of this model yet" in part
    assert "/jobs/new?models=fcos_resnet10_fpn" in part
