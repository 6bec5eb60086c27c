"""Fitted anchors: known clusters are found, equal input gives equal anchors, and they are never told to be better than they are."""

from __future__ import annotations

import numpy as np
import pytest

from detection_core.assignment.fit import fit_anchors
from detection_core.assignment.layouts import AnchorOptions, layout
from detection_core.assignment.matching import best_iou
from detection_core.catalogue.detectors import DETECTORS
from detection_core.schemas.base import InvalidInput
from tests.detection_core.assignment.makers import clustered_truth, drawn_truth, truth_of

ANCHORED = sorted(name for name, entry in DETECTORS.items() if entry.anchors)


def fit(name, truth, side=256, seed=0):
    return fit_anchors(DETECTORS[name], truth, height=side, width=side, seed=seed)


def test_clusters_of_known_size_and_ratio_get_their_anchors():
    # Squares of 12, 30 and 100 px and boxes three times as high as wide.
    truth = clustered_truth([(12, 12), (30, 30), (100, 100), (17.3, 52)], each=150)
    proposal = fit("retinanet_resnet10_fpn", truth)
    sizes = np.concatenate(proposal.options.anchor_sizes)
    ratios = np.asarray(proposal.options.aspect_ratios[0])
    for wanted in (12, 30, 100):
        assert np.abs(np.log(sizes / wanted)).min() < 0.2
    assert np.abs(np.log(ratios / 1)).min() < 0.15 and np.abs(np.log(ratios / 3)).min() < 0.2
    # Boxes of 12 px lie up to 4 px off the places of stride 8, so some stay under IoU 0.5 whatever the anchors are.
    assert proposal.after.share_matched > proposal.before.share_matched
    assert proposal.after.mean_best_iou > proposal.before.mean_best_iou + 0.05
    assert proposal.better
    wide = fit("retinanet_resnet10_fpn", clustered_truth([(40, 80), (90, 180)], each=200))
    assert wide.after.mean_best_iou > max(0.8, wide.before.mean_best_iou + 0.05)


def test_one_cluster_much_smaller_than_every_anchor_is_covered():
    proposal = fit("fasterrcnn_resnet50_fpn", clustered_truth([(10, 10)], each=400, side=800), side=800)
    assert proposal.before.share_matched == 0
    assert proposal.after.share_matched > 0.8
    assert min(proposal.options.anchor_sizes[0]) < 14


@pytest.mark.parametrize("name", ["retinanet_resnet10_fpn", "ssd_resnet10"])
def test_anchors_are_fitted_to_the_levels_of_another_neck_and_bring_it_with_them(name):
    entry, truth = DETECTORS[name], clustered_truth([(20, 40), (60, 60)], each=100)
    proposal = fit_anchors(entry, truth, height=256, width=256, neck="single")
    assert proposal.options.neck == "single" and len(proposal.options.anchor_sizes) == 1
    (level,) = layout(entry, height=256, width=256, options=proposal.options)
    (own,) = layout(entry, height=256, width=256, options=AnchorOptions(neck="single"))
    assert level.per_place == own.per_place
    assert proposal.before.mean_best_iou == pytest.approx(best_iou((own,), truth).mean(), abs=1e-6)
    assert proposal.after.mean_best_iou == pytest.approx(best_iou((level,), truth).mean(), abs=1e-6)
    assert proposal.better


@pytest.mark.parametrize("name", ANCHORED)
def test_a_proposal_has_the_form_of_the_options_and_covers_what_it_tells(name):
    entry, side = DETECTORS[name], DETECTORS[name].input_size
    truth = drawn_truth(seed=8, images=40, side=side, largest=0.6 * side)
    proposal = fit(name, truth, side)
    levels = layout(entry, height=side, width=side, options=proposal.options)
    own = layout(entry, height=side, width=side)
    # SSD's and YOLOv3's own anchors are no sizes in ratios, so that a proposal can be worse; the report tells.
    free = entry.family not in ("ssd", "yolo")
    if entry.family != "ssd":
        assert [level.per_place for level in levels] == [level.per_place for level in own]
    assert proposal.after.mean_best_iou == pytest.approx(best_iou(levels, truth).mean(), abs=1e-6)
    assert proposal.before.share_matched == pytest.approx((best_iou(own, truth) >= 0.5).mean())
    assert all(list(level) == sorted(level) for level in proposal.options.anchor_sizes)
    assert proposal.after.score >= proposal.before.score - (1e-9 if free else 0.1)


def test_the_same_objects_and_seed_give_the_same_proposal():
    truth = drawn_truth(seed=2, images=900)
    assert len(truth) > 3000
    first, second, other = (fit("ssd_resnet10", truth, seed=seed) for seed in (4, 4, 5))
    assert first == second
    assert first.objects <= 3000
    assert first.options != other.options or first.after != other.after


def test_what_has_no_anchors_or_no_objects_is_refused():
    with pytest.raises(InvalidInput, match="fcos_resnet10_fpn has no anchors to fit"):
        fit("fcos_resnet10_fpn", clustered_truth([(20, 20)]))
    with pytest.raises(InvalidInput, match="the train split has no boxes to fit anchors to"):
        fit("ssd_resnet10", truth_of(np.zeros((0, 4))))
