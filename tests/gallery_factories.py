"""Evaluations with images to look at: the built-in pictures of fields, detections made from their boxes, and the stored examples."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detection_core.data.canonical import write_canonical
from detection_core.data.fields import load_fields
from detection_core.evaluation.examples import write_examples
from detection_core.evaluation.operating_point import choose_threshold, operating_point
from tests.accuracy_factories import give_output
from tests.factories import make_job, make_result
from webapp.artifacts.services import artifact_put, artifact_put_stream
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.selectors import stored_images
from webapp.jobs.models import Job, JobOutput

SPLIT = "test"


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation with what it was made of: COCO ground truth and detections float64 [n, 7]."""

    job: Job
    version: DatasetVersion
    ground_truth: dict[str, Any]
    detections: np.ndarray

    @property
    def score_thresh(self) -> float:
        """The operating point."""
        return self.job.result["accuracy"]["operating_point"]["score_thresh"]


def make_fields(*, images: int = 12, size: int = 320, seed: int = 0) -> DatasetVersion:
    """Store the built-in data set with `images` of its pictures in the test split."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"seed": seed, "train": 4, "val": 4, "test": images, "size": size}
        dataset = load_fields(Path(folder), options)
        path = Path(folder) / "fields.tar"
        write_canonical(dataset, path)
        artifact = artifact_put(path=path, kind="dataset", name="fields.tar")
    row, _ = Dataset.objects.get_or_create(name="fields", defaults={"licence": "CC0-1.0"})
    return DatasetVersion.objects.create(
        dataset=row,
        number=row.versions.count() + 1,
        content_hash=dataset.content_hash,
        artifact=artifact,
        classes=list(dataset.classes),
        splits={name: summary.model_dump() for name, summary in dataset.summary().items()},
        report={"issues": [], "counts": {}},
        form="builtin",
    )


def ground_truth_of(version: DatasetVersion, *, split: str = SPLIT) -> dict[str, Any]:
    """Return COCO ground truth of a stored data set, its images under their numbers."""
    images = stored_images(version, split=split)
    return {
        "images": [
            {"id": image.number, "file_name": f"images/{image.file}", "width": image.width, "height": image.height} for image in images
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(version.classes, start=1)],
        "annotations": [
            {
                "id": 1000 * image.number + place,
                "image_id": image.number,
                "category_id": label + 1,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": (box[2] - box[0]) * (box[3] - box[1]),
                "iscrowd": int(crowd),
            }
            for image in images
            for place, (box, label, crowd) in enumerate(zip(image.boxes, image.labels, image.iscrowd, strict=True))
        ],
    }


def detections_from(ground_truth: dict[str, Any], *, skill: float = 1.0, seed: int = 0, false_per_image: float = 3.0) -> np.ndarray:
    """Return detections as a detector of some skill makes them, float64 [n, 7]: some loose, double, of a wrong class, or of nothing."""
    rng = np.random.default_rng([seed, round(100 * skill)])
    classes, rows = len(ground_truth["categories"]), []
    for entry in ground_truth["annotations"]:
        certainty = skill + 0.02 * (entry["bbox"][2] ** 0.5 * 10 - 30) + rng.normal()
        for luck in [0.0, -1.5] if rng.random() < 0.08 else [0.0]:
            if certainty < -0.8:
                continue
            label = entry["category_id"] if rng.random() < 0.93 else int(rng.integers(1, classes + 1))
            side = max(entry["bbox"][2:])
            box = np.array(entry["bbox"]) + rng.normal(0, 0.07, 4) * side * np.exp(-0.3 * certainty)
            rows.append([entry["image_id"], *box[:2], *np.maximum(box[2:], 2), _share(certainty + luck + rng.normal(0, 0.3)), label])
    for image in ground_truth["images"]:
        for _ in range(rng.poisson(false_per_image)):
            side = rng.uniform(10, 50, 2)
            corner = rng.uniform(0, 1, 2) * (np.array([image["width"], image["height"]]) - side)
            rows.append([image["id"], *corner, *side, _share(rng.normal(-1.3, 0.9)), int(rng.integers(1, classes + 1))])
    return np.array(rows, np.float64).reshape(-1, 7)


def _share(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def make_evaluated(version: DatasetVersion, *, split: str = SPLIT, model: str = "fcos_resnet10_fpn", **luck: Any) -> Evaluated:
    """Store an evaluation of a data set with its examples and the operating point of its card; `luck` goes to `detections_from`."""
    truth = ground_truth_of(version, split=split)
    detections = detections_from(truth, **luck)
    row = make_result(model, dataset_version=version, split=split)
    assert row.evaluation is not None
    job = row.evaluation.job
    point = operating_point(truth, detections, score_thresh=choose_threshold(truth, detections), chosen_on="val")
    job.result = {
        **row.evaluation.result,
        "accuracy": {"operating_point": point.model_dump(mode="json")},
        "manifest": row.exported_model.manifest,
        "backend": row.backend,
        "dataset_sha256": version.content_hash,
        "split": split,
    }
    job.title = f"evaluate {model}"
    job.save()
    groups = {image.number: image.group for image in stored_images(version, split=split)}
    _store(job, truth, detections, groups, point.score_thresh)
    return Evaluated(job, version, truth, detections)


def make_scored(ground_truth: dict[str, Any], detections: np.ndarray, *, name: str = "rival.json", truth_sha256: str = "a" * 64) -> Job:
    """Store the scoring of a results file against a ground truth file: its pictures are not on the site."""
    thresh = choose_threshold(ground_truth, detections)
    point = operating_point(ground_truth, detections, score_thresh=thresh, chosen_on="the evaluated images")
    spec = {"name": name, "ground_truth": {"sha256": truth_sha256, "name": "truth.json"}, "split": "test"}
    metrics = dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar_100"), 0.5)
    result = {
        "kind": "score",
        "metrics": metrics,
        "images": len(ground_truth["images"]),
        "detections": len(detections),
        "dataset_sha256": None,
        "split": None,
        "accuracy": {"operating_point": point.model_dump(mode="json")},
    }
    job = make_job("score", spec=spec, result=result, title=f"score {name}")
    _store(job, ground_truth, detections, {}, thresh)
    return job


def give_examples(job: Job, content: dict[str, Any]) -> None:
    """Store an output `examples` as it is written down here."""
    give_output(job, "examples", content)


def give_broken_examples(job: Job, content: bytes) -> None:
    """Store bytes that are no such file."""
    artifact = artifact_put_stream(chunks=[content], kind="examples", name="examples.json.gz", max_bytes=len(content))
    JobOutput.objects.update_or_create(job=job, role="examples", defaults={"artifact": artifact, "name": "examples.json.gz"})


def _store(job: Job, truth: dict[str, Any], detections: np.ndarray, groups: dict[int, str | None], score_thresh: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples.json.gz"
        write_examples(path, truth, detections, groups=groups, score_thresh=score_thresh)
        artifact = artifact_put(path=path, kind="examples", name="examples.json.gz")
    JobOutput.objects.create(job=job, role="examples", name="examples.json.gz", artifact=artifact)
