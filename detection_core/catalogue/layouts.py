"""Output layouts of detectors that were made elsewhere: what a person chooses from, and what a field left empty means."""

from __future__ import annotations

from dataclasses import dataclass

from detection_core.catalogue.specs import Family, Stages

# How PyTorch's weights begin: torch.save writes a zip; older ones and plain pickles begin with the protocol byte.
PICKLE_HEADS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Layout:
    """One layout. `mean` and `std` apply to values 0..1 in the order of `channel_order`; `nms_thresh` is None where no NMS follows.
    `stages` is "set" where finished detections come out: what network makes them is not told.

    `outputs` gives the shapes for C classes; the input is always one image, float32 [1, 3, H, W]. `builder` is "module:Class" of the
    adapter that decodes it; only `detection_core.build` resolves it.
    """

    name: str
    title: str
    about: str
    outputs: str
    resize: str
    channel_order: str
    mean: Triple
    std: Triple
    nms_thresh: float | None
    pad_value: int
    builder: str
    stages: Stages = "one"


def _of_255(values: Triple) -> Triple:
    first, second, third = values
    return (first / 255, second / 255, third / 255)


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="yolox",
            title="YOLOX",
            about="Raw outputs of three grids with strides 8, 16 and 32: centre, log of the size, objectness, class scores.",
            outputs="[1, places, 5 + C]",
            resize="letterbox",
            channel_order="bgr",
            mean=(0.0, 0.0, 0.0),
            std=(1 / 255, 1 / 255, 1 / 255),
            nms_thresh=0.65,
            pad_value=114,
            builder="detection_core.models.foreign:YoloxAdapter",
        ),
        Layout(
            name="nanodet",
            title="NanoDet",
            about="For each stride class scores and distributions over the distances to the four sides.",
            outputs="per stride [1, places, C] and [1, places, 4 × bins]",
            resize="letterbox",
            channel_order="bgr",
            mean=_of_255((103.53, 116.28, 123.675)),
            std=_of_255((57.375, 57.12, 58.395)),
            nms_thresh=0.6,
            pad_value=0,
            builder="detection_core.models.foreign:NanodetAdapter",
        ),
        Layout(
            name="anchor_free",
            title="Anchor-free (4 + C rows)",
            about="Boxes as centre, width and height in pixels of the input, followed by the class scores of each place.",
            outputs="[1, 4 + C, places]",
            resize="letterbox",
            channel_order="rgb",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            nms_thresh=0.7,
            pad_value=114,
            builder="detection_core.models.foreign:AnchorFreeAdapter",
        ),
        Layout(
            name="end_to_end",
            title="End to end (N × 6)",
            about="Finished detections: x1, y1, x2, y2 in pixels of the input, score, class. No NMS follows.",
            outputs="[1, N, 6]",
            resize="letterbox",
            channel_order="rgb",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            nms_thresh=None,
            pad_value=114,
            builder="detection_core.models.foreign:EndToEndAdapter",
            stages="set",
        ),
        Layout(
            name="fastestdet",
            title="FastestDet",
            about="FastestDet's ONNX graph, or its PyTorch weights (.pth), which can be trained further here.",
            outputs="[1, 5 + C, rows, columns]",
            resize="stretch",
            channel_order="bgr",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            nms_thresh=0.45,
            pad_value=114,
            builder="detection_core.models.fastestdet:FastestDetAdapter",
        ),
    )
}

# Families of imported files, beside FAMILIES of the catalogue's own detectors; FastestDet is one of those.
IMPORTED_FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="yolox",
            title="YOLOX",
            colour=9,
            how_it_works="One stage without anchors: each cell of three grids tells one box, an objectness and class scores.",
        ),
        Family(
            name="nanodet",
            title="NanoDet",
            colour=10,
            how_it_works="One stage without anchors: each place tells a distribution over its distance to each side of the box.",
        ),
        Family(
            name="anchor_free",
            title="Imported, anchor-free",
            colour=7,
            how_it_works="A file of unknown architecture that tells boxes and class scores.",
        ),
        Family(
            name="end_to_end",
            title="Imported, end to end",
            colour=7,
            how_it_works="A file of unknown architecture that tells finished detections.",
        ),
    )
}
