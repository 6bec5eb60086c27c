"""Our one decode and NMS against torchvision's own of each family: the same boxes, scores and labels."""

from __future__ import annotations

import pytest
import torch

from detection_core.models.adapter import as_image_list
from tests.detection_core.models.small import SIDE, perturbed

# So many candidates that neither side cuts any off: torchvision cuts per level or per class, we cut once.
MANY = 1_000_000
THRESH = 0.05


def ours(adapter, raw, nms_thresh):
    found = adapter.postprocess(raw, score_thresh=THRESH, nms_thresh=nms_thresh, max_det=MANY, pre_nms_topk=MANY)[0]
    return found.boxes, found.scores, found.labels


def assert_same(found, boxes, scores, labels):
    """The same detections in any order: near-equal scores may be ranked differently. Boxes without extent are ours to drop."""
    real = (boxes[:, 2:] - boxes[:, :2] >= 0.01).all(dim=1)
    expected = torch.cat([boxes, 100 * scores[:, None], 1000 * labels[:, None]], dim=1)[real]
    have = torch.cat([found[0], 100 * found[1][:, None], 1000 * found[2][:, None]], dim=1)
    assert have.shape == expected.shape and len(have) > 10
    assert found[1].max() - found[1].min() > 0.01, "constant scores would agree whatever is ranked"
    distances = torch.cdist(have, expected, p=torch.inf, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.min(dim=0).values.max() < 1e-2 and distances.min(dim=1).values.max() < 1e-2


@pytest.mark.parametrize("name", ["fcos_resnet10_fpn", "retinanet_resnet10_fpn"])
def test_sigmoid_families_decode_as_torchvision_does(name):
    adapter, model = perturbed(name)
    with torch.no_grad():
        features = list(model.backbone(torch.randn(1, 3, SIDE, SIDE)).values())
        outputs = model.head(features)
        anchors = model.anchor_generator(as_image_list(torch.empty(1, 3, SIDE, SIDE)), features)
        places = [len(anchors[0]) * level.shape[-1] ** 2 // sum(other.shape[-1] ** 2 for other in features) for level in features]
        model.score_thresh, model.topk_candidates, model.detections_per_img = THRESH, MANY, MANY
        by_level = {key: list(value.split(places, dim=1)) for key, value in outputs.items()}
        expected = model.postprocess_detections(by_level, [list(anchors[0].split(places))], [(SIDE, SIDE)])[0]
        found = ours(adapter, tuple(outputs[key] for key in adapter.output_names), model.nms_thresh)
    assert_same(found, expected["boxes"], expected["scores"], expected["labels"])


def test_ssd_decodes_as_torchvision_does():
    adapter, model = perturbed("ssd_resnet10")
    with torch.no_grad():
        features = list(model.backbone(torch.randn(1, 3, SIDE, SIDE)).values())
        outputs = model.head(features)
        anchors = model.anchor_generator(as_image_list(torch.empty(1, 3, SIDE, SIDE)), features)
        model.score_thresh, model.topk_candidates, model.detections_per_img = THRESH, MANY, MANY
        expected = model.postprocess_detections(outputs, anchors, [(SIDE, SIDE)])[0]
        found = ours(adapter, tuple(outputs[key] for key in adapter.output_names), model.nms_thresh)
    assert_same(found, expected["boxes"], expected["scores"], expected["labels"] - 1)


def test_faster_rcnn_answers_as_torchvision_does():
    adapter, model = perturbed("fasterrcnn_resnet10_fpn")
    images = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        features = model.backbone(images)
        image_list = as_image_list(images)
        proposals, _ = model.rpn(image_list, features)
        model.roi_heads.score_thresh = THRESH
        expected = model.roi_heads(features, proposals, image_list.image_sizes)[0][0]
        found = ours(adapter, adapter.forward(model, images), model.roi_heads.nms_thresh)
    assert_same(found, expected["boxes"], expected["scores"], expected["labels"] - 1)
