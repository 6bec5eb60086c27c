"""The commands `assignment` and `fit-anchors`."""

from __future__ import annotations

import json

import pytest

from detection_core.__main__ import main
from tests.detection_core.tiny import write_yolo


@pytest.fixture
def call(capfd, monkeypatch, tmp_path):
    """Run a command in this process; return its status and its document (its text without --json)."""
    monkeypatch.setenv("PARETOBOX_CACHE", str(tmp_path / "cache"))

    def run(*words, as_json=True):
        status = main([str(word) for word in (*words, *(["--json"] if as_json else []))])
        out = capfd.readouterr().out
        return status, json.loads(out) if as_json else out

    return run


@pytest.fixture
def data(tmp_path):
    return write_yolo(tmp_path, splits=("train", "val", "test"))


def test_assignment_counts_the_objects_of_a_split(call, data):
    arguments = ("assignment", "--model", "retinanet_resnet10_fpn", "--dataset", data, "--input-size", 128)
    status, report = call(*arguments)
    assert status == 0
    assert (report["split"], report["input_size"], report["images"], report["total"]["objects"]) == ("train", 128, 3, 3)
    assert len(report["levels"]) == 4 and report["own_iou"] == 0.5
    status, text = call(*arguments, "--split", "val", as_json=False)
    assert status == 0
    assert "small" in text and "px at the input" in text and "negatives" in text


def test_fitted_anchors_can_be_given_back_as_a_recipe(call, data, tmp_path):
    arguments = ("--model", "ssd_resnet10", "--dataset", data, "--input-size", 128)
    status, proposal = call("fit-anchors", *arguments, "--seed", 3)
    assert status == 0
    assert proposal["after"]["mean_best_iou"] > proposal["before"]["mean_best_iou"]
    (tmp_path / "recipe.json").write_text(json.dumps({"model_options": proposal["options"]}))
    status, report = call("assignment", *arguments, "--recipe", tmp_path / "recipe.json")
    assert status == 0
    assert report["mean_best_iou"] == pytest.approx(proposal["after"]["mean_best_iou"], abs=1e-6)
    status, single = call("fit-anchors", *arguments, "--neck", "single")
    assert status == 0 and single["options"]["neck"] == "single" and len(single["options"]["anchor_sizes"]) == 1
    status, text = call("fit-anchors", *arguments, as_json=False)
    assert status == 0 and '{"model_options": {"anchor_sizes"' in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("assignment", "--model", "nothing"), "there is no detector named 'nothing'"),
        (("assignment", "--model", "ssd_resnet10", "--split", "other"), "'other' is not a split"),
        (("fit-anchors", "--model", "fcos_resnet10_fpn"), "has no anchors to fit"),
    ],
)
def test_bad_input_is_status_2_and_a_sentence(call, data, words, sentence):
    status, document = call(*words, "--dataset", data)
    assert status == 2
    assert sentence in document["failure"]["message"]
