"""Scoring many detections: hotcoco, which the product uses, beside pycocotools, the reference; both must give the same 12 numbers.

And a results file from the upload through the site to its audited numbers; its intervals and its memory in a child process as a worker
starts it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.row import Arm, Mark, Options, Row
from detection_core.evaluation.coco_files import write_detections
from detection_core.evaluation.coco_metrics import (
    AUDIT_SAMPLE,
    AUDIT_TOLERANCE,
    AUDIT_WHOLE_UP_TO,
    Engine,
    coco_metrics,
    largest_difference,
)
from detection_core.operations.accuracy import DRAWING
from detection_core.schemas.files import InputFile
from detection_core.schemas.results import CocoMetrics, ScoreResult
from detection_core.schemas.specs import ScoreSpec

CLASSES = 80
DETECTIONS_PER_IMAGE = 100
TRUTHS_PER_IMAGE = 7
AGREEMENT = 1e-9
MEMORY_UNIT = 1 << 20 if sys.platform == "linux" else 1 << 30  # of ru_maxrss in a GiB: it is in KiB, on macOS in bytes


def generated(images: int, seed: int = 0) -> tuple[dict[str, Any], np.ndarray]:
    """Return ground truth and detections: a third of the detections lie near an object, the rest anywhere."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    rows = []
    for image in range(1, images + 1):
        boxes = _boxes(rng, TRUTHS_PER_IMAGE)
        labels = rng.integers(1, CLASSES + 1, TRUTHS_PER_IMAGE)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            number = len(annotations) + 1
            annotations.append({"id": number, "image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        rows.append(_detections(rng, image, boxes, labels))
    truth = {
        "images": [{"id": image, "width": 640, "height": 480} for image in range(1, images + 1)],
        "categories": [{"id": label, "name": f"class {label}"} for label in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    return truth, np.concatenate(rows)


@contextmanager
def arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open both evaluators over the same generated set."""
    truth, table = generated(500 if options.quick else 5000)
    found: dict[str, CocoMetrics] = {}

    def seconds(engine: Engine) -> float:
        began = time.perf_counter()
        found[engine], _ = coco_metrics(truth, table, engine=engine)
        return time.perf_counter() - began

    yield {"hotcoco": lambda: seconds("hotcoco"), "pycocotools": lambda: seconds("pycocotools")}
    difference = largest_difference(found["hotcoco"], found["pycocotools"])
    if difference > AGREEMENT:
        raise AssertionError(f"the two evaluators differ by {difference:g}; no speed counts while they do")


@dataclass(frozen=True)
class Scored:
    """What a score job took: seconds from the audited numbers to its end, and the most memory in GiB."""

    interval_s: float
    memory_gib: float


def score_in_child(folder: Path) -> Scored:
    """Score the files `gt.json` and `dt.json.gz` of a folder in a process of its own."""
    spec = ScoreSpec(
        ground_truth=InputFile(ref=str(folder / "gt.json")), predictions=InputFile(ref=str(folder / "dt.json.gz")), name="bench"
    )
    out = folder / f"out-{time.monotonic_ns()}"
    out.mkdir()
    (out / "spec.json").write_text(spec.to_json())
    command = [sys.executable, "-m", "detection_core", "run", str(out / "spec.json"), "--out", str(out)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    ended = time.time()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"the score job ended with {child.returncode}")
    _check_result(ScoreResult.parse((out / "result.json").read_text()))
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    audited = next(event["time"] for event in events if event.get("message") == DRAWING)
    return Scored(interval_s=ended - audited, memory_gib=usage.ru_maxrss / MEMORY_UNIT)


def _check_result(result: ScoreResult) -> None:
    drawn = result.accuracy.bootstrap
    if result.audit.images != (result.images if result.images <= AUDIT_WHOLE_UP_TO else AUDIT_SAMPLE):
        raise AssertionError(f"pycocotools saw {result.audit.images} images of {result.images}; no speed counts without the audit")
    if result.audit.max_abs_difference > AUDIT_TOLERANCE:
        raise AssertionError("the two evaluators differ; no speed counts while they do")
    if drawn is None or drawn.draws < 1000 or drawn.intervals["ap"] is None:
        raise AssertionError("the score job made no interval of 1,000 draws")


@contextmanager
def site_arms(options: Options) -> Iterator[Mapping[str, Arm]]:
    """Open the arm that uploads a generated results file with its ground truth and waits for the audited numbers."""
    predictions, truth = _files(options)
    yield {"site and worker": lambda: options.stack.seconds_to_numbers(predictions, truth, told=DRAWING)}


def file_arms(figure: Callable[[Scored], float]) -> Callable[[Options], AbstractContextManager[Mapping[str, Arm]]]:
    """Return what opens the arm that scores a generated results file and takes one figure of it."""

    @contextmanager
    def opened(options: Options) -> Iterator[Mapping[str, Arm]]:
        _files(options)
        yield {"score job": lambda: figure(score_in_child(options.folder))}

    return opened


def _files(options: Options) -> tuple[Path, Path]:
    """Write the generated detections and their ground truth; return the paths of both."""
    truth, table = generated(500 if options.quick else 5000)
    predictions, ground_truth = options.folder / "dt.json.gz", options.folder / "gt.json"
    ground_truth.write_text(json.dumps(truth))
    write_detections(predictions, table)
    return predictions, ground_truth


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    size = rng.uniform(8, 200, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * (np.array([640, 480]) - size)
    return np.hstack([corner, size])


def _detections(rng: np.random.Generator, image: int, truths: np.ndarray, labels: np.ndarray) -> np.ndarray:
    near = DETECTIONS_PER_IMAGE // 3
    of = rng.integers(0, len(truths), near)
    shaken = truths[of] + rng.normal(0, 0.1, (near, 4)) * np.tile(truths[of, 2:], 2)
    shaken[:, 2:] = np.maximum(shaken[:, 2:], 1)
    boxes = np.vstack([shaken, _boxes(rng, DETECTIONS_PER_IMAGE - near)])
    classes = np.concatenate([labels[of], rng.integers(1, CLASSES + 1, DETECTIONS_PER_IMAGE - near)])
    scores = np.round(rng.uniform(0, 1, DETECTIONS_PER_IMAGE), 4)
    return np.column_stack([np.full(DETECTIONS_PER_IMAGE, image), boxes, scores, classes])


ROW = Row(
    name="scoring",
    what="COCO numbers of 500,000 detections on 5,000 images, 80 classes (quick: 50,000 on 500)",
    unit="s",
    mark=Mark("speedup", 20),
    arms=arms,
    rounds=3,
    quick_rounds=3,
)

FILE = "results file of 500,000 detections on 5,000 images, 80 classes (quick: 50,000 on 500)"
NUMBERS = Row(
    name="score-numbers",
    what=f"{FILE}: upload through the site to the 12 numbers, audited",
    unit="s",
    mark=Mark("median", 15),
    arms=site_arms,
    rounds=2,
    quick_rounds=2,
)
INTERVAL = Row(
    name="score-interval",
    what=f"{FILE}: from the numbers to intervals of 1,000 draws, operating point, errors, curves and examples",
    unit="s",
    mark=Mark("median", 120),
    arms=file_arms(lambda scored: scored.interval_s),
    rounds=2,
    quick_rounds=2,
)
MEMORY = Row(
    name="score-memory",
    what=f"{FILE}: the job's largest memory",
    unit="GiB",
    mark=Mark("median", 1.5),
    arms=file_arms(lambda scored: scored.memory_gib),
    rounds=2,
    quick_rounds=2,
)
