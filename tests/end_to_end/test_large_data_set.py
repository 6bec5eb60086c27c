"""Ten thousand images of two gigabytes: imported in a process of bounded memory, checked, browsable. Heavy: `make test ALL=large`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from django.urls import reverse
from PIL import Image

from detection_core.operations.context import file_sha256
from detection_core.schemas.results import ImportResult
from webapp.artifacts.services import artifact_put
from webapp.datasets.selectors import image_bytes, stored_image, stored_images
from webapp.datasets.services import dataset_version_record

pytestmark = [pytest.mark.heavy, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 10_000
SIZE = (448, 336)
BYTES = 2_000_000_000
MEMORY_LIMIT_MB = 512
BROKEN = 5
COPIES = 7


@dataclass(frozen=True)
class Imported:
    """The end of the import, its folder, and the most memory that its process took, in MB."""

    result: ImportResult
    out: Path
    peak_mb: float


def noise_jpeg(rng: np.random.Generator) -> bytes:
    """Noise over a random landscape: about 200 kB, and no two alike."""
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(SIZE, Image.Resampling.BILINEAR)
    noise = rng.integers(0, 96, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(coarse) // 2 + noise).save(buffer, format="JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def write_large(path: Path) -> int:
    """Write a YOLO data set as a .tar, image after image; some are broken, some are copies in another split. Returns its bytes."""
    rng = np.random.default_rng(0)
    kept: list[bytes] = []
    with tarfile.open(path, "w") as tar:

        def add(name: str, content: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

        add("data.yaml", b"names: [crop, weed]\n")
        for number in range(IMAGES):
            split = ("train", "train", "train", "val", "test")[number % 5]
            content = noise_jpeg(rng)
            if number % 5 == 0 and len(kept) < COPIES:
                kept.append(content)
            if number % 5 == 3 and number // 5 < COPIES:  # a val image that is a train image, saved again
                buffer = io.BytesIO()
                Image.open(io.BytesIO(kept[number // 5])).save(buffer, format="JPEG", quality=80)
                content = buffer.getvalue()
            if number >= IMAGES - BROKEN:
                content = content[: len(content) // 2]
            rows = [f"{rng.integers(2)} {x:.4f} {y:.4f} 0.1 0.08" for x, y in rng.uniform(0.1, 0.9, (number % 9, 2))]
            add(f"labels/{split}/{number:05d}.txt", "\n".join(rows).encode())
            add(f"images/{split}/{number:05d}.jpg", content)
    return path.stat().st_size


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    """The data set, imported by the command that a worker runs."""
    inputs, out = tmp_path / "inputs", tmp_path / "out"
    inputs.mkdir()
    assert write_large(inputs / "large.tar") >= BYTES * 0.95
    sha256 = file_sha256(inputs / "large.tar")
    (inputs / "large.tar").rename(inputs / sha256)
    (tmp_path / "spec.json").write_text(json.dumps({"kind": "import", "source": {"sha256": sha256, "name": "large.tar"}, "name": "large"}))
    command = [sys.executable, "-m", "detection_core", "run", str(tmp_path / "spec.json"), "--out", str(out), "--inputs", str(inputs)]
    environment = {**os.environ, "PARETOBOX_CACHE": str(tmp_path / "cache")}
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    (inputs / sha256).unlink()
    return Imported(ImportResult.parse((out / "result.json").read_bytes()), out, usage.ru_maxrss / 1024)


def test_ten_thousand_images_are_imported_checked_and_browsed(imported: Imported, client, settings, tmp_path: Path):
    result = imported.result
    print(f"peak of the import: {imported.peak_mb:.0f} MB")
    assert imported.peak_mb <= MEMORY_LIMIT_MB
    assert sum(split.images for split in result.splits.values()) == IMAGES - BROKEN
    assert result.report.counts == {"undecodable_image": BROKEN}
    assert (result.leaks.checked, result.leaks.exact, result.leaks.near) == (IMAGES - BROKEN, 0, COPIES)
    assert result.statistics.original is not None
    assert sum(result.statistics.original.counts) == sum(split.boxes for split in result.splits.values())

    location = {"location": str(tmp_path / "artifacts")}
    settings.STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    (file,) = result.files
    artifact = artifact_put(path=imported.out / file.path, kind="dataset", name=file.path)
    (imported.out / file.path).unlink(missing_ok=True)
    version = dataset_version_record(result=result, artifact=artifact, user=None)
    train = stored_images(version, split="train")
    assert len(train) == result.splits["train"].images
    for image in (*train[:48], *train[-48:]):
        assert (image.width, image.height) == SIZE and len(image.boxes) == len(image.labels)
    last = stored_image(version, IMAGES - BROKEN)
    assert last is not None and stored_image(version, IMAGES) is None
    with Image.open(io.BytesIO(image_bytes(version, last))) as picture:
        assert picture.size == SIZE
    for query, number in (({}, 1), ({"page": "99999"}, -1), ({"split": "val", "page": "2"}, 2)):
        page = client.get(reverse("dataset-detail", args=[version.dataset.uuid]), query).context["gallery"]
        assert page.number == (number if number > 0 else page.paginator.num_pages) and len(page) > 0
    assert client.get(reverse("dataset-picture", args=[version.uuid, last.number])).status_code == 200


@pytest.fixture(autouse=True)
def leave_no_gigabytes(tmp_path: Path):
    """Take away what the test wrote: pytest keeps the folders of its last runs."""
    yield
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if path.is_file() and path.stat().st_size > 1 << 20:
            path.unlink()
