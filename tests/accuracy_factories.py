"""Evaluations with everything that the accuracy pages show: a card in the result, and the stored curves with their draws."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

from tests.factories import sha
from webapp.artifacts.services import artifact_put_stream
from webapp.jobs.models import Job, JobOutput
from webapp.results.models import Result

DRAWS = 400
KEY = sha("draws of the test split")


def card_of(ap: float, classes: list[str], *, chosen_on: str = "val", key: str = KEY) -> dict[str, Any]:
    """Return the fields of an AccuracyCard around an AP."""
    intervals = {"ap": {"low": max(0.0, ap - 0.03), "high": min(1.0, ap + 0.03)}, "ap50": {"low": 0.6, "high": 0.72}, "ap_small": None}
    per_class = [
        {"name": name, "ground_truths": 30, "detections": 28, "true_positives": 21, "precision": 0.75, "recall": 0.7, "f1": 0.724}
        for name in classes
    ]
    counts = [[21 if row == column else 2 for column in range(len(classes) + 1)] for row in range(len(classes) + 1)]
    bins = [
        {"low": low / 10, "high": low / 10 + 0.1, "count": 10 * low, "mean_score": low / 10 + 0.05, "precision": 0.6} for low in range(10)
    ]
    return {
        "bootstrap": {"draws": DRAWS, "seed": 0, "unit": "image", "units": 72, "key": key, "intervals": intervals, "note": ""},
        "operating_point": {
            "score_thresh": 0.412,
            "chosen_on": chosen_on,
            "criterion": "max_f1",
            "true_positives": 42,
            "false_positives": 14,
            "ground_truths": 60,
            "precision": 0.75,
            "recall": 0.7,
            "f1": 0.724,
            "false_positives_per_image": 0.19,
            "small_recall": 0.51,
            "small_ground_truths": 37,
            "per_class": per_class,
        },
        "confusion": {"classes": classes, "counts": counts},
        "errors": {
            "ap50": 0.66,
            "gain": {"Cls": 0.01, "Loc": 0.05, "Both": 0.0, "Dupe": 0.002, "Bkg": 0.03, "Miss": 0.08, "FP": 0.07, "FN": 0.2},
            "counts": {"Cls": 3, "Loc": 11, "Both": 1, "Dupe": 2, "Bkg": 9, "Miss": 18},
            "foreground_iou": 0.5,
            "background_iou": 0.1,
        },
        "calibration": {"score_floor": 0.05, "detections": 450, "ece": 0.113, "bins": bins},
    }


def draws_around(ap: float, *, seed: int = 0, spread: float = 0.015, own: float = 0.0) -> list[float]:
    """Return draws of AP; equal seeds share the luck of the images, `own` is a share of luck that the model has alone."""
    shared, alone = random.Random(seed), random.Random(f"{ap} {own}")
    return [ap + shared.gauss(0, spread) + alone.gauss(0, own) for _ in range(DRAWS)]


def give_accuracy(row: Result, *, draws: list[float] | None = None, key: str = KEY, examples: dict[str, Any] | None = None) -> Result:
    """Give a result's evaluation a card, curves and, where asked for, examples; returns the row as it is stored now."""
    assert row.evaluation is not None and row.ap is not None
    classes = list(row.dataset_version.classes)
    evaluation = row.evaluation
    evaluation.result = {**evaluation.result, "accuracy": card_of(row.ap, classes, key=key)}
    evaluation.save()
    Job.objects.filter(pk=evaluation.job_id).update(result=evaluation.result, state="succeeded")
    give_curves(evaluation.job, classes, draws or draws_around(row.ap), key=key)
    if examples is not None:
        give_output(evaluation.job, "examples", examples)
    Result.objects.filter(pk=row.pk).update(ap_low=row.ap - 0.03, ap_high=row.ap + 0.03, small_recall=0.51)
    row.refresh_from_db()
    return row


def give_curves(job: Job, classes: list[str], draws: list[float], *, key: str = KEY) -> None:
    """Store the output `curves` of a job."""
    recall = [step / 100 for step in range(101)]
    precision = {name: [max(0.0, 1 - (x * (1 + 0.2 * place)) ** 3) for x in recall] for place, name in enumerate(classes)}
    found = {"ap": draws, "ap50": draws, "ap75": draws, "ap_small": [None] * len(draws), "ar_100": draws}
    content = {
        "version": 1,
        "classes": classes,
        "recall": recall,
        "precision": precision,
        "draws": found,
        "bootstrap_key": key,
        "unit": "image",
    }
    give_output(job, "curves", content)


def give_output(job: Job, role: str, content: dict[str, Any]) -> None:
    """Store gzipped JSON as an output of a job."""
    packed = gzip.compress(json.dumps(content).encode(), mtime=0)
    artifact = artifact_put_stream(chunks=[packed], kind=role, name=f"{role}.json.gz", max_bytes=len(packed))
    JobOutput.objects.update_or_create(job=job, role=role, defaults={"artifact": artifact, "name": f"{role}.json.gz"})
