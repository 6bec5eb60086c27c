"""The torch-free description of anchors and of their assignment is what the networks have and what their losses do."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from detection_core.assignment.layouts import SELF_CHOSEN, AnchorOptions, has_layout, layout, variant_of
from detection_core.assignment.report import assign
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.specs import Neck
from tests.detection_core.assignment.makers import drawn_truth

torch = pytest.importorskip("torch")

# Families without either have grids of cells, which are compared below.
BOXED = sorted(name for name, entry in DETECTORS.items() if entry.anchors or entry.family == "fcos")
GRIDS = sorted(name for name, entry in DETECTORS.items() if has_layout(entry) and entry.family == "yolo" and not entry.anchors)
NECKED = [(name, neck) for name in ("retinanet_resnet10_fpn", "fcos_resnet10_fpn", "ssd_resnet10") for neck in get_args(Neck)]
ANCHORED = sorted(name for name, entry in DETECTORS.items() if entry.anchors)
# Sizes over five levels, fewer ratios than published: as many anchors at a place on every level.
OTHER = {
    4: AnchorOptions(anchor_sizes=((8,), (20,), (50,), (120,)), aspect_ratios=((0.4, 1.5),) * 4),
    3: AnchorOptions(anchor_sizes=((20, 33),) * 3, aspect_ratios=((1,),) * 3),
    5: AnchorOptions(anchor_sizes=((8, 11), (20, 22), (50, 60), (90, 100), (120, 222)), aspect_ratios=((0.4, 1.5),) * 5),
    6: AnchorOptions(anchor_sizes=((20,), (33,), (70,), (110,), (180,), (260,)), aspect_ratios=((0.5, 1, 1.7),) * 6),
}


def built(name, side, options=None):
    """An adapter and its network on the meta device, whose generators and matchers are real."""
    from detection_core.build import build_adapter

    adapter = build_adapter(name, classes=("crop", "weed"), input_size=side, options=options.given() if options else None)
    with torch.device("meta"):
        return adapter, adapter.build()


def anchors_of(adapter, model):
    """The anchors that training and detection use, for the feature maps that the network has."""
    from detection_core.models.adapter import feature_shapes, fixed_anchors

    if DETECTORS[adapter.name].family == "yolo":
        # What a network that tells zeros everywhere finds, for as many places as it has.
        with torch.device("meta"):
            told = adapter.forward(model.eval(), torch.zeros(1, 3, adapter.input.height, adapter.input.width, device="meta"))[0]
        places = torch.arange(told.shape[1])
        return adapter._decode(torch.zeros(len(places), 4), places)
    if DETECTORS[adapter.name].family == "ssd" and adapter.input.width != DETECTORS[adapter.name].input_size:
        return adapter._anchors  # the published network keeps the steps of its published input
    generator = model.rpn.anchor_generator if hasattr(model, "rpn") else model.anchor_generator
    return fixed_anchors(generator, feature_shapes(model.backbone, adapter.input), adapter.input)


def matches_of(adapter, model, anchors, boxes):
    """What the training's own code makes of each anchor: an object's index, -1 negative, -2 left out (an index may stand for any)."""
    target = {"boxes": boxes, "labels": torch.zeros(len(boxes), dtype=torch.int64)}
    family = DETECTORS[adapter.name].family
    if family == "faster_rcnn":
        labels, _ = model.rpn.assign_targets_to_anchors([anchors], [target])
        return torch.where(labels[0] > 0, 0, torch.where(labels[0] < 0, -2, -1))
    return adapter.assign(anchors, boxes)


def compare_training(name, side, *, options=None, seeds=(1, 2)):
    entry = DETECTORS[name]
    adapter, model = built(name, side, options)
    levels = layout(entry, height=side, width=side, options=options)
    counts = [level.count for level in levels]
    level_of = np.repeat(np.arange(len(levels)), counts)
    anchors = anchors_of(adapter, model)
    for seed in seeds:
        truth = drawn_truth(seed=seed, side=side, largest=0.9 * side)
        found = assign(entry, levels, truth)
        positives, ignored = np.zeros(len(levels), dtype=int), np.zeros(len(levels), dtype=int)
        owned = np.zeros(len(truth), dtype=int)
        for image in range(truth.images):
            own = np.flatnonzero(truth.image == image)
            matches = matches_of(adapter, model, anchors, torch.from_numpy(truth.boxes[own])).numpy()
            positives += np.bincount(level_of[matches >= 0], minlength=len(levels))
            ignored += np.bincount(level_of[matches == -2], minlength=len(levels))
            if len(own):
                owned[own] = np.bincount(matches[matches >= 0], minlength=len(own))
        assert found.positives.tolist() == positives.tolist()
        assert found.ignored.tolist() == ignored.tolist()
        assert (found.positives + found.ignored + found.negatives).tolist() == [truth.images * count for count in counts]
        if entry.family != "faster_rcnn":  # whose matcher tells no owner
            assert found.owned.sum(axis=1).tolist() == owned.tolist()


def test_every_catalogue_entry_is_described_or_chooses_its_places_by_itself():
    missing = [name for name, entry in DETECTORS.items() if has_layout(entry) == ((entry.family, variant_of(entry)) in SELF_CHOSEN)]
    assert not missing, "describe their anchors or points in detection_core/assignment/layouts.py"


@pytest.mark.parametrize("name", BOXED)
def test_the_described_anchors_of_a_catalogue_entry_are_those_of_its_network(name):
    entry = DETECTORS[name]
    for side in {DETECTORS[name].input_size, 416}:
        adapter, model = built(name, side)
        expected = anchors_of(adapter, model).numpy()
        found = np.concatenate([level.boxes() for level in layout(entry, height=side, width=side)])
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("name", ANCHORED)
def test_anchors_of_a_recipe_reach_the_network_as_described(name):
    entry = DETECTORS[name]
    side = DETECTORS[name].input_size
    options = OTHER[len(layout(entry, height=side, width=side))]
    adapter, model = built(name, side, options)
    levels = layout(entry, height=side, width=side, options=options)
    assert np.abs(np.concatenate([level.boxes() for level in levels]) - anchors_of(adapter, model).numpy()).max() < 1e-3
    if not hasattr(model, "rpn"):
        with torch.device("meta"):
            outputs = adapter.forward(model.eval(), torch.zeros(1, 3, side, side, device="meta"))
        assert outputs[0].shape[1] == sum(level.count for level in levels)


@pytest.mark.parametrize("name", BOXED)
def test_the_assignment_is_that_of_the_training_loss_on_every_level(name):
    compare_training(name, DETECTORS[name].input_size)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet10_fpn", "retinanet_resnet10_fpn", "ssd_resnet10", "yolov3_compact"])
def test_the_assignment_of_other_anchors_is_that_of_the_training_loss_too(name):
    options = OTHER[len(layout(DETECTORS[name], height=256, width=256))]
    compare_training(name, 256, options=options, seeds=(3, 4, 5))


@pytest.mark.parametrize(("name", "neck"), NECKED)
def test_the_levels_of_a_neck_are_described_and_assigned_as_the_network_has_them(name, neck):
    options = AnchorOptions(neck=neck)
    for side in (256, 416):
        adapter, model = built(name, side, options)
        levels = layout(DETECTORS[name], height=side, width=side, options=options)
        assert np.abs(np.concatenate([level.boxes() for level in levels]) - adapter._anchors.numpy()).max() < 1e-3
        with torch.device("meta"):
            outputs = adapter.forward(model.eval(), torch.zeros(1, 3, side, side, device="meta"))
        assert {output.shape[1] for output in outputs} == {sum(level.count for level in levels)}
    compare_training(name, 256, options=options)


@pytest.mark.parametrize("name", GRIDS)
def test_the_cells_of_yolov1_and_what_they_learn_are_those_of_its_network_and_loss(name):
    entry = DETECTORS[name]
    side = entry.input_size
    (level,) = layout(entry, height=side, width=side)
    adapter, model = built(name, side)
    with torch.device("meta"):
        outputs = adapter.forward(model.eval(), torch.zeros(1, 3, side, side, device="meta"))
    assert outputs[0].shape[1] == level.rows * level.columns == level.count / 2
    truth = drawn_truth(seed=4, side=side, images=8, most=30)
    found = assign(entry, (level,), truth)
    owned, lost = np.zeros(len(truth), dtype=int), 0
    for image in range(truth.images):
        own = np.flatnonzero(truth.image == image)
        given = adapter.assign(torch.from_numpy(truth.boxes[own])).numpy()
        owned[own] = np.bincount(given[given >= 0], minlength=len(own))
        lost += len(own) - int((given >= 0).sum())
    assert lost > 0 and found.owned[:, 0].tolist() == owned.tolist()


def test_fastestdet_has_one_grid_whose_cells_are_assigned_as_its_training_does_where_all_answer_alike():
    from detection_core.models.fastestdet import STRIDE
    from detection_core.models.fastestdet import assign as assign_cells

    entry = DETECTORS["fastestdet"]
    levels = layout(entry, height=352, width=352)
    adapter, model = built("fastestdet", 352)
    with torch.device("meta"):
        outputs = adapter.forward(model.eval(), torch.zeros(1, 3, 352, 352, device="meta"))
    assert outputs[0].shape[-2:] == (levels[0].rows, levels[0].columns)
    truth = drawn_truth(seed=4, side=352, images=8, most=30)
    found = assign(entry, levels, truth)
    owned = np.zeros(len(truth), dtype=int)
    for image in range(truth.images):
        own = np.flatnonzero(truth.image == image)
        _, objects = assign_cells(torch.zeros(22, 22, 4), torch.from_numpy(truth.boxes[own]), stride=STRIDE)
        owned[own] = np.bincount(objects.numpy(), minlength=len(own))
    assert found.owned[:, 0].tolist() == owned.tolist()
