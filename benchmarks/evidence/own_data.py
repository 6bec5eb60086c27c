"""Own data in an afternoon: two uploaded data sets through the pipeline, bccd in the browser and by the client, sesame-weeds by the client.

    make up                                              (in one terminal)
    python -m benchmarks.evidence.own_data --data FOLDER (in another; FOLDER holds bccd/bccd.tar and sesame-weeds/sesame-weeds.tar)

Writes docs/evidence/own-data.json and .md. Stopped and started again it goes on with the suites it has submitted. Exit 0 only if
every mark was reached.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.evidence import browser
from benchmarks.evidence.report import OUT, backend_pairs, failures, kept, mark, mark_lines, table, write
from benchmarks.evidence.submitting import arguments, import_archive, once, submit
from tests.browser import launch_args
from webapp.client.api import Access, Client, Suite
from webapp.client.watch import watch_suite

BCCD_MODELS = ("fcos_resnet10_fpn", "ssd_resnet10")
SESAME_MODELS = ("fcos_resnet10_fpn",)
LARGEST_BACKEND_DIFFERENCE = 0.005
COMMAND = "python -m benchmarks.evidence.own_data --data FOLDER"


def main() -> int:
    """Submit what is not yet submitted, wait, write the tables."""
    options = arguments(__doc__).parse_args()
    console = Console(highlight=False, soft_wrap=True)
    client = Client(Access.load(options.access))
    notes = options.access.with_name("evidence-own-data.json")
    bccd, sesame = options.data / "bccd" / "bccd.tar", options.data / "sesame-weeds" / "sesame-weeds.tar"
    steps: dict[str, Callable[[], str]] = {
        "bccd": lambda: _bccd_in_browser(json.loads(options.access.read_text()), bccd),
        "bccd by the client": lambda: _bccd_by_client(options.access, bccd),
        "sesame-weeds": lambda: _sesame_weeds(options.access, sesame),
    }
    suites = {name: once(notes, name, step) for name, step in steps.items()}
    ended = {name: watch_suite(client, suite, console) for name, suite in suites.items()}
    report = _report(client, ended)
    _write(report)
    console.print((OUT / "own-data.md").read_text())
    return 0 if all(entry["reached"] for entry in report["marks"]) else 1


def _bccd_in_browser(access: dict[str, str], archive: Path) -> str:
    with browser.person(access["url"], launch_args()) as page:
        browser.log_in(page, access["user"], access["password"])
        browser.import_archive(page, archive, name="bccd")
        return browser.submit_pipeline(page, dataset="bccd", models=BCCD_MODELS, minutes=4, input_size=224)


def _bccd_by_client(access: Path, archive: Path) -> str:
    import_archive(access, archive, name="bccd-client")
    return submit(access, dataset="bccd-client", models=BCCD_MODELS, minutes=4, input_size=224, key="evidence-bccd-client")


def _sesame_weeds(access: Path, archive: Path) -> str:
    import_archive(access, archive, name="sesame-weeds", class_names="crop,weed")
    return submit(access, dataset="sesame-weeds", models=SESAME_MODELS, minutes=8, input_size=256, key="evidence-sesame-weeds")


def _report(client: Client, suites: dict[str, Suite]) -> dict[str, Any]:
    rows = {name: [kept(row.data) for row in client.results(suite=suite.uuid, show="all", sort="model")] for name, suite in suites.items()}
    best = {name: _best_ap50(found) for name, found in rows.items()}
    everything = [row for found in rows.values() for row in found]
    apart = max((abs(pair[0] - pair[1]) for pair in backend_pairs(everything)), default=None)
    return {
        "command": COMMAND,
        "environment": sorted({row["environment"] for row in everything}),
        "failed": failures(list(suites.values())),
        "marks": [
            *[mark(f"{name}: AP50 of the second best family on test", 0.60, _second(best[name])) for name in best if "bccd" in name],
            mark("sesame-weeds: best AP50 on test", 0.45, max(best["sesame-weeds"].values(), default=None)),
            mark("largest difference of AP between eager and onnxruntime, one checkpoint", LARGEST_BACKEND_DIFFERENCE, apart, at_most=True),
        ],
        "rows": rows,
    }


def _second(best: dict[str, float]) -> float | None:
    return sorted(best.values(), reverse=True)[1] if len(best) > 1 else None


def _best_ap50(rows: list[dict[str, Any]]) -> dict[str, float]:
    best: dict[str, float] = {}
    for row in rows:
        if row["ap50"] is not None:
            best[row["family"]] = max(best.get(row["family"], 0.0), row["ap50"])
    return best


def _write(report: dict[str, Any]) -> None:
    lines = [
        "# Own data through the pipeline",
        "",
        f"Made by jobs of a running site: `{report['command']}`. Machine: {', '.join(report['environment'])}.",
        "bccd (blood cells, 364 photos, Pascal VOC) was uploaded and submitted twice, in the browser and by the command `paretobox`,",
        "at most 4 minutes of training a model; sesame-weeds (250 field photos, YOLO, class names corrected to crop, weed) by the",
        "command, at most 8 minutes.",
        "Accuracy is COCO AP@[.5:.95] on the test split; latency is end to end at batch 1, protocol quick, one thread.",
        "",
        *mark_lines(report["marks"]),
    ]
    for name, rows in report["rows"].items():
        lines += ["", f"## {name}", "", *table(rows)]
    write("own-data", report, lines)


if __name__ == "__main__":
    sys.exit(main())
