"""Ten thousand images of two gigabytes: uploaded to the site, imported by its worker in bounded memory, checked, browsed.
Heavy: `make test ALL=large`."""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.deploy.stacks import Supervised
from webapp.client.api import Client, Job
from webapp.datasets.views import IMAGES_PER_PAGE
from webapp.templatetags.show import counted

pytestmark = pytest.mark.heavy

IMAGES = 10_000
SIZE = (400, 304)
LEAST_BYTES = 2_000_000_000
MOST_BYTES = 2 * 1024**3  # what a site takes unless UPLOAD_MAX_BYTES says otherwise
MEMORY_LIMIT_MB = 512
BROKEN = 5
COPIES = 7


def noise_jpeg(rng: np.random.Generator) -> bytes:
    """Noise over a random landscape: about 205 kB, and no two alike."""
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
def archive(tmp_path: Path, stack: Supervised) -> Iterator[Path]:
    """The data set as a person would upload it; gone at the end like what was stored of it, since pytest keeps the folders of its runs."""
    path = tmp_path / "large.tar"
    size = write_large(path)
    assert LEAST_BYTES <= size <= MOST_BYTES
    yield path
    for large in (path, *stack.home.rglob("*")):
        if large.is_file() and large.stat().st_size > 1 << 30:
            large.unlink()


class Peak:
    """The most memory, in MB, that the process of a running job has taken, as far as it was looked at."""

    def __init__(self, stack: Supervised) -> None:
        self._stack = stack
        self.megabytes = 0.0

    def look(self, job: Job) -> None:
        """Look at the job's process now, which its folder names; the worker's probe is another one and loads more."""
        for process in self._stack.processes():
            try:
                words = " ".join(process.cmdline())
                status = Path(f"/proc/{process.pid}/status").read_text()
            except (psutil.Error, OSError):
                continue
            if "detection_core run" in words and f"{job.uuid}-" in words:
                most = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
                self.megabytes = max(self.megabytes, int(most.split()[1]) / 1024)


def test_ten_thousand_images_are_uploaded_imported_checked_and_browsed(stack: Supervised, api: Client, archive: Path):
    peak = Peak(stack)
    queued = api.import_dataset("large", path=archive)
    job = api.wait(queued.uuid, on_change=peak.look, every_s=0.5)
    assert job.state == "succeeded", f"{job.failure_message}\n{job.data['log_tail']}"
    print(f"peak of the import: {peak.megabytes:.0f} MB")
    assert 0 < peak.megabytes <= MEMORY_LIMIT_MB

    (row,) = api.datasets("large")
    (version,) = api.dataset(row["uuid"])["versions"]
    images = {split: counts["images"] for split, counts in version["splits"].items()}
    assert sum(images.values()) == IMAGES - BROKEN
    assert version["report"]["counts"] == {"undecodable_image": BROKEN}
    assert {name: version["leaks"][name] for name in ("checked", "exact", "near")} == {
        "checked": IMAGES - BROKEN,
        "exact": 0,
        "near": COPIES,
    }
    assert sum(version["statistics"]["original"]["counts"]) == sum(split["boxes"] for split in version["splits"].values())

    with httpx.Client(base_url=stack.url, timeout=120) as browser:
        page = f"/datasets/{row['uuid']}"
        assert browser.get(page).status_code == 200
        pages = math.ceil(images["val"] / IMAGES_PER_PAGE)
        last = browser.get(page, params={"split": "val", "page": str(pages)})
        assert f"{pages} of {pages}" in last.text and f"{counted(images['val'])} images" in last.text
        for number in (1, IMAGES - BROKEN):
            address = f"/datasets/images/{version['uuid']}/{number}"
            assert browser.get(address).status_code == 200
            whole, scaled = browser.get(f"{address}/file"), browser.get(f"{address}/file", params={"width": 320})
            sizes = [Image.open(io.BytesIO(answer.content)).size for answer in (whole, scaled)]
            assert sizes == [SIZE, (320, 243)]
        assert browser.get(f"/datasets/images/{version['uuid']}/{IMAGES}").status_code == 404
