"""The detectors: one entry each. `detection_core.build` turns an entry into an adapter; everything else only reads it."""

from __future__ import annotations

from typing import Any

from detection_core.catalogue.specs import Detector, Family
from detection_core.schemas.manifest import NO_NMS

# Colour slots 5 (detr) and 6 (rtdetr) are kept free for the families that come next.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="faster_rcnn",
            title="Faster R-CNN",
            colour=0,
            how_it_works=(
                "Two stages. A region proposal network marks boxes that may hold an object; the features under each box are cut "
                "out, classified and refined. Easy background is gone before the second stage, which costs time per proposal."
            ),
        ),
        Family(
            name="retinanet",
            title="RetinaNet",
            colour=1,
            how_it_works=(
                "One stage over a feature pyramid with nine anchors at every place. The focal loss turns down the weight of easy "
                "background, so that all anchors can be trained at once."
            ),
        ),
        Family(
            name="ssd",
            title="SSD",
            colour=2,
            how_it_works=(
                "One stage that reads each scale from its own layer of the trunk, without a pyramid. Only the hardest negatives, "
                "three for each positive, count in the loss."
            ),
        ),
        Family(
            name="fcos",
            title="FCOS",
            colour=3,
            how_it_works=(
                "One stage without anchors. Every place of the pyramid tells its distance to the four sides of the box it lies in; "
                "a centre-ness score turns down boxes told from near an edge."
            ),
        ),
        Family(
            name="yolo",
            title="YOLO",
            colour=4,
            how_it_works=(
                "One stage, rebuilt version by version: from the grid of 2016, where the cell that holds the middle of an object finds "
                "it, over anchors on three scales to heads without anchors that learn at the places that are best at an object already. "
                "The tenth learns with a second head, in which each object has one place, and detects with that head alone, without NMS."
            ),
        ),
        Family(
            name="fastestdet",
            title="FastestDet",
            colour=8,
            how_it_works=(
                "One stage without anchors on a single grid of stride 16, over which three scales are laid. Each cell tells one box, "
                "an objectness and one class; with a quarter of a million parameters it is among the smallest detectors there are."
            ),
        ),
    )
}

_FASTER_RCNN: dict[str, Any] = {
    "family": "faster_rcnn",
    "stages": "two",
    "imbalance_remedy": "two stages and balanced sampling",
    "anchors": True,
    "multi_scale": True,
    "builder": "detection_core.models.faster_rcnn:FasterRcnnAdapter",
    "resize": "letterbox",
    "paper": "Ren et al., Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks, 2015",
    "paper_url": "https://arxiv.org/abs/1506.01497",
    "nms_thresh": 0.5,
}
_RETINANET: dict[str, Any] = {
    "family": "retinanet",
    "stages": "one",
    "imbalance_remedy": "focal loss",
    "anchors": True,
    "multi_scale": True,
    "builder": "detection_core.models.retinanet:RetinaNetAdapter",
    "resize": "letterbox",
    "paper": "Lin et al., Focal Loss for Dense Object Detection, 2017",
    "paper_url": "https://arxiv.org/abs/1708.02002",
    "nms_thresh": 0.5,
}
_SSD: dict[str, Any] = {
    "family": "ssd",
    "stages": "one",
    "imbalance_remedy": "hard negative mining 3:1",
    "anchors": True,
    "multi_scale": True,
    "builder": "detection_core.models.ssd:SsdAdapter",
    "paper": "Liu et al., SSD: Single Shot MultiBox Detector, 2016",
    "paper_url": "https://arxiv.org/abs/1512.02325",
}
_FCOS: dict[str, Any] = {
    "family": "fcos",
    "stages": "one",
    "imbalance_remedy": "focal loss and centre-ness",
    "anchors": False,
    "multi_scale": True,
    "builder": "detection_core.models.fcos:FcosAdapter",
    "resize": "letterbox",
    "paper": "Tian et al., FCOS: Fully Convolutional One-Stage Object Detection, 2019",
    "paper_url": "https://arxiv.org/abs/1904.01355",
    "nms_thresh": 0.6,
}
_YOLOV1: dict[str, Any] = {
    "family": "yolo",
    "stages": "one",
    "imbalance_remedy": "background counts half, boxes five times",
    "anchors": False,
    "multi_scale": False,
    "builder": "detection_core.models.yolo.v1:YoloV1Adapter",
    "resize": "stretch",
    "licence": "Apache-2.0",
    "paper": "Redmon et al., You Only Look Once: Unified, Real-Time Object Detection, 2016",
    "paper_url": "https://arxiv.org/abs/1506.02640",
    "nms_thresh": 0.5,
}
_YOLOV3: dict[str, Any] = {
    "family": "yolo",
    "stages": "one",
    "imbalance_remedy": "objectness apart from classes; near anchors ignored",
    "anchors": True,
    "multi_scale": True,
    "builder": "detection_core.models.yolo.v3:YoloV3Adapter",
    "resize": "letterbox",
    "licence": "Apache-2.0",
    "paper": "Redmon and Farhadi, YOLOv3: An Incremental Improvement, 2018",
    "paper_url": "https://arxiv.org/abs/1804.02767",
    "nms_thresh": 0.5,
}
_FASTESTDET: dict[str, Any] = {
    "family": "fastestdet",
    "stages": "one",
    "imbalance_remedy": "objectness with a fixed share for background",
    "anchors": False,
    "multi_scale": False,
    "builder": "detection_core.models.fastestdet:FastestDetAdapter",
    "resize": "stretch",
    "paper": "FastestDet, a project without a paper, 2022",
    "paper_url": "https://github.com/dog-qiuqiu/FastestDet",
    "licence": "BSD-3-Clause",
    "nms_thresh": 0.45,
}
# RGB values 0..1 as they are.
_PLAIN_PIXELS: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_YOLOV8: dict[str, Any] = {
    "family": "yolo",
    "stages": "one",
    "imbalance_remedy": "task-aligned places, scores trained towards their quality",
    "anchors": False,
    "multi_scale": True,
    "builder": "detection_core.models.yolo.v8:YoloV8Adapter",
    "input_size": 640,
    "resize": "letterbox",
    "paper": "YOLOv8 has no paper; described in Terven et al., A Comprehensive Review of YOLO Architectures in Computer Vision, 2023",
    "paper_url": "https://arxiv.org/abs/2304.00501",
    "licence": "Apache-2.0",
    "nms_thresh": 0.7,
}
_YOLOV10: dict[str, Any] = {
    **_YOLOV8,
    "imbalance_remedy": "task-aligned places, one for each object in the head that detects",
    "builder": "detection_core.models.yolo.v10:YoloV10Adapter",
    "paper": "Wang et al., YOLOv10: Real-Time End-to-End Object Detection, 2024",
    "paper_url": "https://arxiv.org/abs/2405.14458",
    "nms_free": True,
    "nms_thresh": NO_NMS,
}
# The default rate is for networks of a few million parameters.
_LARGE_YOLO: dict[str, Any] = {"lr": 5e-4}
# In the sizes that torchvision publishes; its code is under the BSD licence.
_PUBLISHED: dict[str, Any] = {"licence": "BSD-3-Clause", "recipe": {"lr": 2e-4}}
# Plain convolutions, narrow pyramid, small input: learns from scratch on a CPU in minutes.
_COMPACT: dict[str, Any] = {"licence": "Apache-2.0", "input_size": 256, "compact": True}

DETECTORS: dict[str, Detector] = {
    entry.name: entry
    for entry in (
        Detector(
            name="fasterrcnn_resnet10_fpn",
            title="Faster R-CNN ResNet-10",
            options={"variant": "resnet10_fpn"},
            params_m=6.085,
            macs_g=1.568,
            **_FASTER_RCNN,
            **_COMPACT,
        ),
        Detector(
            name="fasterrcnn_resnet18_fpn",
            title="Faster R-CNN ResNet-18",
            published_weights="ResNet18_Weights.IMAGENET1K_V1",
            options={"variant": "resnet18_fpn"},
            params_m=12.356,
            macs_g=2.776,
            **_FASTER_RCNN,
            **_COMPACT,
        ),
        Detector(
            name="fasterrcnn_resnet50_fpn",
            title="Faster R-CNN ResNet-50 FPN",
            input_size=800,
            published_weights="FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
            options={"variant": "resnet50_fpn"},
            params_m=41.757,
            macs_g=134.329,
            published_ap=0.370,
            **_FASTER_RCNN,
            **_PUBLISHED,
        ),
        Detector(
            name="fasterrcnn_resnet50_fpn_v2",
            title="Faster R-CNN ResNet-50 FPN v2",
            input_size=800,
            published_weights="FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
            options={"variant": "resnet50_fpn_v2"},
            params_m=43.661,
            macs_g=280.320,
            published_ap=0.467,
            **_FASTER_RCNN,
            **_PUBLISHED,
        ),
        Detector(
            name="fasterrcnn_mobilenet_v3_large_fpn",
            title="Faster R-CNN MobileNetV3-Large FPN",
            input_size=800,
            published_weights="FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1",
            options={"variant": "mobilenet_v3_large_fpn"},
            params_m=19.360,
            macs_g=18.802,
            published_ap=0.328,
            **_FASTER_RCNN,
            **_PUBLISHED,
        ),
        Detector(
            name="fasterrcnn_mobilenet_v3_large_320_fpn",
            title="Faster R-CNN MobileNetV3-Large FPN 320",
            input_size=320,
            published_weights="FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1",
            options={"variant": "mobilenet_v3_large_320_fpn"},
            params_m=19.360,
            macs_g=2.865,
            published_ap=0.228,
            **_FASTER_RCNN,
            **_PUBLISHED,
        ),
        Detector(
            name="retinanet_resnet10_fpn",
            title="RetinaNet ResNet-10",
            options={"variant": "resnet10_fpn"},
            params_m=5.659,
            macs_g=2.018,
            **_RETINANET,
            **_COMPACT,
        ),
        Detector(
            name="retinanet_resnet18_fpn",
            title="RetinaNet ResNet-18",
            published_weights="ResNet18_Weights.IMAGENET1K_V1",
            options={"variant": "resnet18_fpn"},
            params_m=11.929,
            macs_g=3.226,
            **_RETINANET,
            **_COMPACT,
        ),
        Detector(
            name="retinanet_resnet50_fpn",
            title="RetinaNet ResNet-50 FPN",
            input_size=800,
            published_weights="RetinaNet_ResNet50_FPN_Weights.COCO_V1",
            options={"variant": "resnet50_fpn"},
            params_m=33.840,
            macs_g=148.497,
            published_ap=0.364,
            **_RETINANET,
            **_PUBLISHED,
        ),
        Detector(
            name="retinanet_resnet50_fpn_v2",
            title="RetinaNet ResNet-50 FPN v2",
            input_size=800,
            published_weights="RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1",
            options={"variant": "resnet50_fpn_v2"},
            params_m=37.971,
            macs_g=149.195,
            published_ap=0.415,
            **_RETINANET,
            **_PUBLISHED,
        ),
        Detector(
            name="fcos_resnet10_fpn",
            title="FCOS ResNet-10",
            options={"variant": "resnet10_fpn"},
            params_m=5.272,
            macs_g=1.492,
            **_FCOS,
            **_COMPACT,
        ),
        Detector(
            name="fcos_resnet18_fpn",
            title="FCOS ResNet-18",
            published_weights="ResNet18_Weights.IMAGENET1K_V1",
            options={"variant": "resnet18_fpn"},
            params_m=11.542,
            macs_g=2.700,
            **_FCOS,
            **_COMPACT,
        ),
        Detector(
            name="fcos_resnet50_fpn",
            title="FCOS ResNet-50 FPN",
            input_size=800,
            published_weights="FCOS_ResNet50_FPN_Weights.COCO_V1",
            options={"variant": "resnet50_fpn"},
            params_m=32.297,
            macs_g=127.869,
            published_ap=0.392,
            **_FCOS,
            **_PUBLISHED,
        ),
        Detector(
            name="ssd_resnet10",
            title="SSD ResNet-10",
            resize="letterbox",
            options={"variant": "resnet10"},
            params_m=8.194,
            macs_g=1.962,
            nms_thresh=0.5,
            **_SSD,
            **_COMPACT,
        ),
        Detector(
            name="ssd_resnet18",
            title="SSD ResNet-18",
            resize="letterbox",
            options={"variant": "resnet18"},
            params_m=14.465,
            macs_g=3.170,
            nms_thresh=0.5,
            **_SSD,
            **_COMPACT,
        ),
        Detector(
            name="ssd300_vgg16",
            title="SSD300 VGG-16",
            input_size=300,
            resize="stretch",
            # As its published weights expect: RGB values 0..255 less a mean.
            published_weights="SSD300_VGG16_Weights.COCO_V1",
            options={"variant": "300_vgg16", "mean": (0.48235, 0.45882, 0.40784), "std": (1 / 255, 1 / 255, 1 / 255)},
            params_m=34.305,
            macs_g=34.360,
            nms_thresh=0.45,
            published_ap=0.251,
            **_SSD,
            **_PUBLISHED,
        ),
        Detector(
            name="ssdlite320_mobilenet_v3_large",
            title="SSDlite320 MobileNetV3-Large",
            input_size=320,
            resize="stretch",
            published_weights="SSDLite320_MobileNet_V3_Large_Weights.COCO_V1",
            options={"variant": "lite320_mobilenet_v3_large", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
            params_m=3.301,
            macs_g=0.563,
            nms_thresh=0.55,
            published_ap=0.213,
            **_SSD,
            **_PUBLISHED,
        ),
        Detector(
            name="yolov1_compact",
            title="YOLOv1 compact",
            input_size=224,
            compact=True,
            options={"variant": "v1_compact"},
            params_m=2.932,
            macs_g=0.377,
            **_YOLOV1,
        ),
        Detector(
            name="yolov1",
            title="YOLOv1",
            input_size=448,
            options={"variant": "v1"},
            recipe={"lr": 2e-4},
            params_m=283.749,
            macs_g=20.297,
            **_YOLOV1,
        ),
        Detector(
            name="yolov3_compact",
            title="YOLOv3 compact",
            input_size=256,
            compact=True,
            options={"variant": "v3_compact"},
            params_m=5.311,
            macs_g=0.980,
            **_YOLOV3,
        ),
        Detector(
            name="yolov3",
            title="YOLOv3",
            input_size=416,
            options={"variant": "v3"},
            recipe={"lr": 2e-4},
            params_m=61.949,
            macs_g=32.932,
            published_ap=0.310,
            published_on="COCO test-dev",
            **_YOLOV3,
        ),
        Detector(
            name="fastestdet",
            title="FastestDet",
            input_size=352,
            # As its published weights expect: BGR values 0..1.
            options={"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "channel_order": "bgr"},
            params_m=0.244,
            macs_g=0.121,
            published_ap=0.130,
            **_FASTESTDET,
        ),
        Detector(
            name="yolov8n",
            title="YOLOv8-N",
            options={"variant": "n", **_PLAIN_PIXELS},
            params_m=3.157,
            macs_g=4.371,
            published_ap=0.373,
            **_YOLOV8,
        ),
        Detector(
            name="yolov8s",
            title="YOLOv8-S",
            options={"variant": "s", **_PLAIN_PIXELS},
            params_m=11.167,
            macs_g=14.301,
            published_ap=0.449,
            **_YOLOV8,
        ),
        Detector(
            name="yolov8m",
            title="YOLOv8-M",
            options={"variant": "m", **_PLAIN_PIXELS},
            recipe=_LARGE_YOLO,
            params_m=25.903,
            macs_g=39.468,
            published_ap=0.502,
            **_YOLOV8,
        ),
        Detector(
            name="yolov8l",
            title="YOLOv8-L",
            options={"variant": "l", **_PLAIN_PIXELS},
            recipe=_LARGE_YOLO,
            params_m=43.692,
            macs_g=82.574,
            published_ap=0.529,
            **_YOLOV8,
        ),
        Detector(
            name="yolov8x",
            title="YOLOv8-X",
            options={"variant": "x", **_PLAIN_PIXELS},
            recipe=_LARGE_YOLO,
            params_m=68.230,
            macs_g=128.902,
            published_ap=0.539,
            **_YOLOV8,
        ),
        Detector(
            name="yolov10n",
            title="YOLOv10-N",
            options={"variant": "n", **_PLAIN_PIXELS},
            params_m=2.306,
            macs_g=3.378,
            published_ap=0.385,
            **_YOLOV10,
        ),
        Detector(
            name="yolov10s",
            title="YOLOv10-S",
            options={"variant": "s", **_PLAIN_PIXELS},
            params_m=7.263,
            macs_g=10.850,
            published_ap=0.463,
            **_YOLOV10,
        ),
        Detector(
            name="yolov10m",
            title="YOLOv10-M",
            options={"variant": "m", **_PLAIN_PIXELS},
            recipe=_LARGE_YOLO,
            params_m=15.387,
            macs_g=29.617,
            published_ap=0.511,
            **_YOLOV10,
        ),
        Detector(
            name="yolov10b",
            title="YOLOv10-B",
            options={"variant": "b", **_PLAIN_PIXELS},
            recipe=_LARGE_YOLO,
            params_m=19.099,
            macs_g=46.037,
            published_ap=0.525,
            **_YOLOV10,
        ),
        Detector(
            name="yolov10l",
            title="YOLOv10-L",
            options={"variant": "l", **_PLAIN_PIXELS},
            recipe=_LARGE_YOLO,
            params_m=24.413,
            macs_g=60.230,
            published_ap=0.532,
            **_YOLOV10,
        ),
        Detector(
            name="yolov10x",
            title="YOLOv10-X",
            options={"variant": "x", **_PLAIN_PIXELS},
            recipe=_LARGE_YOLO,
            params_m=29.536,
            macs_g=80.266,
            published_ap=0.544,
            **_YOLOV10,
        ),
    )
}
