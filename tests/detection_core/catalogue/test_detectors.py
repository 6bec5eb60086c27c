"""The table of detectors against torchvision's published figures, and the rule by which a detector gets its recipe."""

from __future__ import annotations

import pytest
from torchvision.models import get_model_weights

from detection_core.build import build_adapter, measure
from detection_core.catalogue.detectors import DETECTORS, FAMILIES
from detection_core.catalogue.published import claims_for
from detection_core.catalogue.recipes import recipe_for
from detection_core.schemas.recipe import Recipe

# FastestDet and YOLO are published elsewhere.
ELSEWHERE = ("fastestdet", "yolo")
PUBLISHED = sorted(name for name, entry in DETECTORS.items() if entry.published_ap is not None and entry.family not in ELSEWHERE)


def classes_of(name: str, outputs: int) -> tuple[str, ...]:
    """As many class names as give `outputs` class outputs; SSD and Faster R-CNN keep one for the background."""
    own = outputs if DETECTORS[name].family in ("fcos", "retinanet", "fastestdet") else outputs - 1
    return tuple(f"class {number}" for number in range(own))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_size_is_the_network_that_torchvision_publishes(name):
    meta = get_model_weights(name).COCO_V1.meta
    params_m, macs_g = measure(build_adapter(name, classes=classes_of(name, 91)))
    assert DETECTORS[name].published_ap == pytest.approx(meta["_metrics"]["COCO-val2017"]["box_map"] / 100)
    # Published counts of the first versions leave out scale and shift of their frozen norms, which are trained here.
    assert meta["num_params"] / 1e6 == pytest.approx(params_m, rel=0.002)
    if not name.startswith("fasterrcnn_mobilenet"):
        # torchvision counts the MobileNet pair at other input shapes.
        assert macs_g == pytest.approx(meta["_ops"], rel=0.001)


def test_fastestdet_has_the_weights_and_the_accuracy_that_its_project_tells():
    params_m, _ = measure(build_adapter("fastestdet", classes=classes_of("fastestdet", 80)))
    assert params_m == pytest.approx(0.24, abs=0.01)
    assert (DETECTORS["fastestdet"].published_ap, DETECTORS["fastestdet"].compact) == (0.130, False)


def test_what_is_published_of_yolov3_is_of_416_px_and_says_on_which_images():
    entry = DETECTORS["yolov3"]
    assert (entry.published_ap, entry.published_on, entry.input_size) == (0.310, "COCO test-dev", 416)
    assert entry.published_ap in [row.ap for row in claims_for("yolov3-416")]
    assert DETECTORS["yolov1"].published_ap is None  # Pascal VOC alone
    assert {entry.published_on for entry in DETECTORS.values() if entry.family != "yolo"} == {"COCO val2017"}


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_an_entry_has_the_figures_it_states_at_80_classes(name):
    params_m, macs_g = measure(build_adapter(name, classes=tuple(f"class {number}" for number in range(80))))
    assert (DETECTORS[name].params_m, DETECTORS[name].macs_g) == (pytest.approx(params_m, abs=0.001), pytest.approx(macs_g, abs=0.001))


def test_every_family_has_a_compact_and_a_published_member():
    for family in set(FAMILIES) - {"fastestdet"}:
        members = [entry for entry in DETECTORS.values() if entry.family == family]
        assert {entry.compact for entry in members} == {True, False}


def test_a_detectors_own_settings_fill_what_the_recipe_left_at_the_general_default():
    entry = DETECTORS["fcos_resnet50_fpn"]
    assert recipe_for(entry, Recipe()).lr == entry.recipe["lr"] != Recipe().lr
    assert recipe_for(entry, Recipe(lr=0.01)).lr == 0.01
    assert recipe_for(entry, Recipe()).input_size == entry.input_size
    assert recipe_for(entry, Recipe(input_size=320)).input_size == 320


def test_a_recipe_means_the_same_after_it_was_written_and_read_again():
    entry = DETECTORS["fcos_resnet50_fpn"]
    for recipe in (Recipe(), Recipe(epochs=3, lr=0.01)):
        assert recipe_for(entry, Recipe.parse(recipe.to_json())) == recipe_for(entry, recipe)
        assert recipe_for(entry, recipe_for(entry, recipe)) == recipe_for(entry, recipe)


def test_the_settings_of_every_entry_are_fields_of_a_recipe():
    for entry in DETECTORS.values():
        assert Recipe.parse(entry.recipe)
