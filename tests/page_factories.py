"""Jobs as their pages show them, and data sets with real bytes: the larger things that tests of pages need."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import tempfile
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone
from PIL import Image, ImageOps

from tests.factories import make_dataset_version, make_job, sha
from webapp.accounts.models import User
from webapp.artifacts.services import artifact_put
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.jobs.models import Job, JobAttempt, JobEvent, JobLog, Suite
from webapp.jobs.pipeline import PipelineRequest, pipeline_plan
from webapp.jobs.services import suite_create
from webapp.jobs.states import State


def make_suite(
    name: str = "2 models on bccd v1", *, models: tuple[str, ...] = ("fcos_resnet10_fpn", "ssd_resnet10"), user: User | None = None
) -> Suite:
    """Queue a pipeline on a stored data set the way the form does."""
    version = make_dataset_version()
    request = PipelineRequest(models=models, dataset_sha256=version.artifact_id, dataset_name=str(version))
    return suite_create(name=name, user=user, jobs=pipeline_plan(request))


def make_event(job: Job, kind: str = "move", *, attempt: int = 1, **data: Any) -> JobEvent:
    """Add the next event to a job, whatever its state."""
    seq = job.event_seq + 1
    Job.objects.filter(pk=job.pk).update(event_seq=seq)
    job.event_seq = seq
    return JobEvent.objects.create(job=job, seq=seq, attempt=attempt, type=kind, data=data, created_at=timezone.now())


def make_running_job(**fields: Any) -> Job:
    """Make a training that is at work, with an attempt, curves and a log."""
    now = timezone.now()
    spec = {"model": "fcos_resnet10_fpn", "recipe": {"max_minutes": 4.0, "epochs": 1000}, "threads": 2, "device": "cpu"}
    progress = {"fraction": 0.31, "message": "epoch 4 of 12, 41 images/s", "eta_s": 170}
    values = {
        "title": "fcos_resnet10_fpn · bccd v1",
        "worker": "cpu-lab-1",
        "attempt": 1,
        "started_at": now - timedelta(seconds=75),
        "progress": progress,
    }
    job = make_job("train", state=State.RUNNING, spec=spec, **(values | fields))
    pace = {"lr": 0.001, "images_per_s": 41.0, "waiting_share": 0.04}
    JobAttempt.objects.create(job=job, number=1, worker="cpu-lab-1", started_at=job.started_at)
    make_event(job, attempt=0, to="queued", by="alice")
    make_event(job, to="running", **{"from": "queued", "why": "claimed by cpu-lab-1"})
    for epoch in range(1, 5):
        losses = {"loss": 2.4 / epoch**0.6, "loss_box": 0.8 / epoch**0.5}
        make_event(job, "metric", step=25 * epoch, epoch=float(epoch), values=losses | pace | _balance(epoch))
        make_event(job, "metric", step=25 * epoch, epoch=float(epoch), values={"ap": 0.09 * epoch, "ap50": 0.16 * epoch})
    JobLog.objects.create(job=job, attempt=1, offset=0, text="".join(f"epoch {number} of 12 done\n" for number in range(1, 5)))
    return job


def _balance(epoch: int) -> dict[str, float]:
    """Two levels, as a training tells them: the background of the finer one brings most of the loss, less of it each epoch."""
    background = 0.96 / epoch
    return {
        "positives_0": 480.0,
        "negatives_0": 95_520.0,
        "positive_share_0": 0.75 * (1 - background),
        "negative_share_0": 0.75 * background,
        "positives_1": 120.0,
        "negatives_1": 23_880.0,
        "positive_share_1": 0.25 * (1 - background),
        "negative_share_1": 0.25 * background,
    }


def make_stored_dataset(
    name: str = "tiny",
    *,
    images: tuple[tuple[str, str, int], ...] = (("a.png", "train", 2), ("b.png", "val", 1), ("c.png", "test", 0)),
    number: int = 1,
    contents: dict[str, bytes] | None = None,
    **fields: Any,
) -> DatasetVersion:
    """Store a canonical .tar of small pictures; each image is given as file name, split and number of boxes.

    `contents` gives files other bytes than a grey PNG; `fields` are those of the version, such as `frozen=False`.
    """
    classes = ("crop", "weed")
    records = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.tar"
        with tarfile.open(path, "w") as tar:
            files = {file: _png(64, 48, shade=40 + 20 * place) for place, (file, _, _) in enumerate(images)} | (contents or {})
            for file, split, boxes in images:
                records.append(_image_entry(file, split, boxes, files[file], len(classes)))
            index = {
                "format": "paretobox-dataset",
                "version": 1,
                "name": name,
                "classes": classes,
                "images": records,
                "report": {"issues": [], "counts": {}},
            }
            for member, content in (
                ("dataset.json", json.dumps(index).encode()),
                *((f"images/{file}", content) for file, content in files.items()),
            ):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        artifact = artifact_put(path=path, kind="dataset", name=f"{name}.tar")
    dataset, _ = Dataset.objects.get_or_create(name=name, defaults={"licence": "MIT"})
    splits = {
        split: {
            "images": sum(record["split"] == split for record in records),
            "boxes": sum(len(record["boxes"]) for record in records if record["split"] == split),
            "per_class": {
                label: sum(record["labels"].count(place) for record in records if record["split"] == split)
                for place, label in enumerate(classes)
            },
        }
        for split in ("train", "val", "test")
    }
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=number,
        content_hash=sha("content", name, number),
        artifact=artifact,
        classes=list(classes),
        splits=splits,
        **({"report": {"issues": [], "counts": {}}, "form": "coco"} | fields),
    )


def _image_entry(file: str, split: str, boxes: int, content: bytes, classes: int) -> dict[str, Any]:
    corners = [[4.0 + 6 * place, 5.0 + 4 * place, 20.0 + 6 * place, 19.0 + 4 * place] for place in range(boxes)]
    width, height = _upright_size(content)
    return {
        "file": file,
        "width": width,
        "height": height,
        "split": split,
        "group": None,
        "sha256": hashlib.sha256(content).hexdigest(),
        "boxes": corners,
        "labels": [place % classes for place in range(boxes)],
        "iscrowd": [False] * boxes,
        "area": [16.0 * 14.0] * boxes,
    }


def _upright_size(content: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            upright = ImageOps.exif_transpose(picture)
            return upright.size
    except OSError:  # no picture, or a broken one
        return 64, 48


def _png(width: int, height: int, *, shade: int) -> bytes:
    """Return a grey PNG without any imaging library."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\x00" + bytes([shade % 256]) * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
