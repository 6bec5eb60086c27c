"""YOLOv8 and YOLOv10 in all sizes against the figures that are published of them, on the graph that detects, at 80 classes and 640 px."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from detection_core.build import build_adapter, measure
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.published import claims_for
from detection_core.catalogue.recipes import recipe_for
from detection_core.models.yolo.v10 import PLANS, YoloV10
from detection_core.schemas.recipe import Recipe

CLASSES = tuple(f"class {number}" for number in range(80))
# Millions of parameters and GFLOPs (2 x MACs): YOLOv8's own table; Wang et al. 2024, table 1.
PUBLISHED = {
    "yolov8n": (3.2, 8.7),
    "yolov8s": (11.2, 28.6),
    "yolov8m": (25.9, 78.9),
    "yolov8l": (43.7, 165.2),
    "yolov8x": (68.2, 257.8),
    "yolov10n": (2.3, 6.7),
    "yolov10s": (7.2, 21.6),
    "yolov10m": (15.4, 59.1),
    "yolov10b": (19.1, 92.0),
    "yolov10l": (24.4, 120.3),
    "yolov10x": (29.5, 160.4),
}
# Stages by their rank, as they become compact (Wang et al. 2024, section 3.2).
BY_RANK = (8, 4, 7, 5, 3, 1, 6, 2)


def reached(found: float, published: float) -> bool:
    """Within a hundredth, or within the rounding of a figure that is given to a tenth, whichever is larger."""
    return abs(found - published) <= max(0.01 * published, 0.05)


def size_of(adapter, model) -> tuple[float, float]:
    """Millions of parameters and GFLOPs of what detects, of a network on the meta device."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        adapter.count_forward(model.eval(), torch.empty(1, 3, 640, 640, device="meta"))
    params = sum(parameter.numel() for parameter in adapter.export_module(model).parameters())
    return params / 1e6, counter.get_total_flops() / 1e9


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_flops_are_the_published_ones(name):
    params_m, macs_g = measure(build_adapter(name, classes=CLASSES))
    assert reached(params_m, PUBLISHED[name][0]), params_m
    assert reached(2 * macs_g, PUBLISHED[name][1]), 2 * macs_g


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_accuracy_of_an_entry_is_a_published_one(name):
    entry = DETECTORS[name]
    assert (entry.input_size, entry.licence, entry.nms_free) == (640, "Apache-2.0", "v10" in name)
    assert entry.published_ap in [row.ap for row in claims_for(name)]


def test_small_sizes_take_the_default_recipe_and_from_m_on_the_rate_is_a_third():
    rates = {name: recipe_for(DETECTORS[name], Recipe()).lr for name in PUBLISHED}
    assert {name for name, rate in rates.items() if rate == Recipe().lr} == {"yolov8n", "yolov8s", "yolov10n", "yolov10s"}
    assert set(rates.values()) == {Recipe().lr, Recipe().lr / 3}


@pytest.mark.parametrize("variant", PLANS)
def test_no_other_number_of_compact_stages_has_the_published_size(variant):
    plan, adapter = PLANS[variant], build_adapter(f"yolov10{variant}", classes=CLASSES)
    assert plan.compact == BY_RANK[: len(plan.compact)]
    for other in (len(plan.compact) - 1, len(plan.compact) + 1):
        with torch.device("meta"):
            model = YoloV10(replace(plan, compact=BY_RANK[:other]), len(CLASSES))
        params_m, gflops = size_of(adapter, model)
        assert not (reached(params_m, PUBLISHED[adapter.name][0]) and reached(gflops, PUBLISHED[adapter.name][1])), (
            other,
            params_m,
            gflops,
        )
