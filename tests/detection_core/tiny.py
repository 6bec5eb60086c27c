"""Small things to evaluate: a drawn data set of three images with coloured rectangles, and a detector that sees colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from detection_core.build import build_adapter, make_manifest, save_checkpoint
from detection_core.data.dataset import DetectionDataset, ImageRecord
from detection_core.nn.postprocess import Detections
from detection_core.schemas.manifest import InputPolicy
from detection_core.schemas.results import HealthReport

CLASSES = ("crop", "weed")
COLOURS = {0: (40, 200, 40), 1: (200, 40, 200)}
# file -> size and objects (label, xyxy)
SCENES: dict[str, tuple[tuple[int, int], list[tuple[int, tuple[int, int, int, int]]]]] = {
    "a.png": ((96, 64), [(0, (8, 8, 40, 40)), (1, (60, 20, 84, 50))]),
    "b.png": ((64, 96), [(1, (10, 50, 42, 90))]),
    "c.png": ((80, 80), []),
}


def draw_dataset(root: Path) -> DetectionDataset:
    """Write the scenes as images under `root` and return them as a data set with one split."""
    records = []
    for number, (name, ((width, height), objects)) in enumerate(SCENES.items(), start=1):
        pixels = np.full((height, width, 3), 10, dtype=np.uint8)
        for label, (x1, y1, x2, y2) in objects:
            pixels[y1:y2, x1:x2] = COLOURS[label]
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "images" / name)
        boxes = np.array([box for _, box in objects], dtype=np.float64).reshape(-1, 4)
        records.append(
            ImageRecord(
                image_id=number,
                file=f"images/{name}",
                width=width,
                height=height,
                split="test",
                group=None,
                sha256="0" * 64,
                boxes=boxes,
                labels=np.array([label for label, _ in objects], dtype=np.int64),
                iscrowd=np.zeros(len(objects), dtype=bool),
                area=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            )
        )
    return DetectionDataset(
        name="tiny",
        classes=CLASSES,
        records=tuple(records),
        root=root,
        content_hash="a" * 64,
        form="canonical",
        licence=None,
        source=None,
        report=HealthReport(),
    )


def write_yolo(root: Path, *, splits: tuple[str, ...] = ("test",)) -> Path:
    """Write the scenes as a YOLO folder that `load_dataset` reads, once for each split, with other noise in each."""
    dataset = draw_dataset(root / "drawn")
    noise = np.random.default_rng(0)
    for split in splits:
        for kind in ("images", "labels"):
            (root / "yolo" / kind / split).mkdir(parents=True, exist_ok=True)
        for record in dataset.records:
            name = f"{split}-{Path(record.file).stem}"
            pixels = dataset.read_image(record)
            Image.fromarray(pixels + noise.integers(0, 9, pixels.shape, dtype=np.uint8)).save(
                root / "yolo" / "images" / split / f"{name}.png"
            )
            (root / "yolo" / "labels" / split / f"{name}.txt").write_text(yolo_lines(record))
    paths = "".join(f"{split}: images/{split}\n" for split in splits)
    names = ", ".join(f'"{name}"' for name in CLASSES)
    (root / "yolo" / "data.yaml").write_text(f"{paths}nc: {len(CLASSES)}\nnames: [{names}]\n")
    return root / "yolo"


def yolo_lines(record: ImageRecord) -> str:
    """Return the objects of an image as the text of a YOLO label file."""
    lines = []
    for label, (x1, y1, x2, y2) in zip(record.labels, record.boxes, strict=True):
        numbers = ((x1 + x2) / 2 / record.width, (y1 + y2) / 2 / record.height, (x2 - x1) / record.width, (y2 - y1) / record.height)
        lines.append(f"{label} " + " ".join(f"{number:.8f}" for number in numbers) + "\n")
    return "".join(lines)


class ColourSession:
    """A network that hands its input on."""

    def run(self, batch, mark=None):
        if mark is not None:
            mark("forward")
        return (batch,)

    def close(self):
        """Nothing to release."""


class ColourAdapter:
    """Finds the extent of each class's colour in the network's input: right by construction."""

    classes = CLASSES
    input = InputPolicy(height=128, width=128, resize="letterbox", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def postprocess(self, raw, *, score_thresh, nms_thresh, max_det, pre_nms_topk):
        image = (raw[0][0] * 255).round()
        found = []
        for label, colour in COLOURS.items():
            mask = (image - torch.tensor(colour, dtype=torch.float32)[:, None, None]).abs().amax(dim=0) < 20
            ys, xs = torch.nonzero(mask, as_tuple=True)
            if len(xs):
                found.append((label, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]))
        boxes = torch.tensor([box for _, box in found], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([label for label, _ in found], dtype=torch.int64)
        return [Detections(boxes=boxes, scores=torch.full((len(found),), 0.9), labels=labels)]


def save_small_checkpoint(path: Path, *, name: str = "fcos_resnet10_fpn", classes: tuple[str, ...] = CLASSES) -> Path:
    """Save a small network with random weights, seeded, whose scores are spread out so that it finds something."""
    torch.manual_seed(3)
    adapter = build_adapter(name, classes=classes, input_size=128)
    model = adapter.build()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    save_checkpoint(path, model.state_dict(), make_manifest(adapter))
    return path
