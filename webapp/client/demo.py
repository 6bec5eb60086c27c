"""The starter benchmark: three families on real photographs, through the public API, to a frontier."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from webapp.client.api import Access, Client, ClientError, Job, Suite
from webapp.client.show import results_table
from webapp.client.watch import watch_suite

MODELS = ("fcos_resnet10_fpn", "ssd_resnet10", "fasterrcnn_resnet10_fpn")
DATA_SET = "neon-trees"
FALLBACK = "fields"
MINUTES = 4.0
TABLE_WIDTH = 110  # without a terminal, as in a log, the table must not lose its names


def run_demo(access: Path, *, minutes: float = MINUTES) -> int:
    """Run the starter benchmark on the site that `access` (an access.json) names; print the frontier table.

    Rows and times are also written to demo.json beside the access file. Returns 0 only if every job succeeded.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, TABLE_WIDTH)
    started = time.monotonic()
    try:
        client = Client(Access.load(access))
        name, sha256, job = _data_set(client, console)
        request = {
            "models": MODELS,
            "dataset_sha256": sha256,
            "dataset_name": name,
            "minutes": minutes,
            "duration": "quick",
            "split": "test",
        }
        suite = client.submit_pipeline(request)
        console.print(f"{len(suite.jobs)} jobs queued; watch them at {suite.url}")
        first_point: list[float] = []

        def note_first_point(_: Job) -> None:
            if not first_point and client.results(suite=suite.uuid):
                first_point.append(time.monotonic() - started)
                console.print(f"first point on the frontier after {first_point[0]:.0f} s: {client.access.url}")

        ended = watch_suite(client, suite.uuid, console, on_end=note_first_point)
        return _report(client, console, ended, [job, *ended.jobs], access.parent / "demo.json", started, first_point)
    except ClientError as error:
        console.print(str(error), style="red")
        return 1


def _data_set(client: Client, console: Console) -> tuple[str, str, Job]:
    """Import the real photographs, or, said aloud, the generated fields where the package index cannot be reached."""
    for name in (DATA_SET, FALLBACK):
        console.print(f"importing {name}")
        job = client.wait(client.import_dataset(name, ref=name).uuid)
        if job.state == "succeeded":
            version = client.datasets(name)[0]["versions"][0]
            counts = ", ".join(f"{split} {part['images']} images / {part['boxes']} boxes" for split, part in version["splits"].items())
            console.print(f"{name}: {counts}")
            return name, version["artifact_sha256"], job
        console.print(f"{name} could not be imported: {job.failure_message}", style="yellow")
        if name == DATA_SET:
            console.print(f"The benchmark runs on the generated data set {FALLBACK} instead.", style="yellow")
    raise ClientError("no data set could be imported; the import job's page has its log")


def _report(client: Client, console: Console, suite: Suite, jobs: list[Job], path: Path, started: float, first_point: list[float]) -> int:
    rows = client.results(suite=suite.uuid, show="all", sort="p50_ms")
    console.print(results_table(rows, title="Speed-accuracy frontier"))
    failed = [job for job in jobs if job.state != "succeeded"]
    report: dict[str, Any] = {
        "seconds": round(time.monotonic() - started, 1),
        "first_point_s": round(first_point[0], 1) if first_point else None,
        "url": client.access.url,
        "suite": suite.uuid,
        "failed": [{"job": job.uuid, "kind": job.kind, "message": job.failure_message} for job in failed],
        "rows": [row.data for row in rows],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
    for job in failed:
        console.print(f"{job.kind} {job.title} {job.state}: {job.failure_message}", style="red")
    console.print(f"{len(rows)} results in {report['seconds']:.0f} s; the frontier stands at {client.access.url}")
    return 1 if failed or not rows else 0
