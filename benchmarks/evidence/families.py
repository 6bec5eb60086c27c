"""Every family from scratch: its smallest detector on bccd, at most ten minutes of training, one suite of jobs a family.

    make up                                              (in one terminal)
    python -m benchmarks.evidence.families --data FOLDER (in another; FOLDER holds bccd/bccd.tar)

Writes docs/evidence/families.json and .md. Stopped and started again it goes on with the suites it has submitted; `--family NAME`
runs one. Exit 0 only if every mark was reached.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.evidence.report import OUT, backend_pairs, failures, kept, mark, mark_lines, table, write
from benchmarks.evidence.submitting import arguments, import_archive, once, submit
from webapp.client.api import Access, Client, Suite
from webapp.client.watch import watch_suite

# The mark is for these; of the others the figure is stated.
MARKED = ("retinanet_resnet10_fpn", "fcos_resnet10_fpn", "ssd_resnet10", "yolov8n", "yolov10n")
STATED = ("fasterrcnn_resnet10_fpn", "fastestdet", "yolov1_compact", "yolov3_compact")
AP50 = 0.5
LARGEST_BACKEND_DIFFERENCE = 0.005
MINUTES = 10
INPUT_SIZE = 256
COMMAND = "python -m benchmarks.evidence.families --data FOLDER"


def main() -> int:
    """Submit what is not yet submitted, wait, write the table of the families that are done."""
    parser = arguments(__doc__)
    parser.add_argument("--family", action="append", choices=MARKED + STATED, help="run this detector only (may be given again)")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    client = Client(Access.load(options.access))
    notes = options.access.with_name("evidence-families.json")
    import_archive(options.access, options.data / "bccd" / "bccd.tar", name="bccd-families")
    ended = {}
    for model in options.family or MARKED + STATED:
        ended[model] = watch_suite(client, once(notes, model, partial(_queue, options.access, model)), console)
    report = _report(client, ended)
    _write(report)
    console.print((OUT / "families.md").read_text())
    return 0 if all(entry["reached"] for entry in report["marks"]) else 1


def _queue(access: Path, model: str) -> str:
    key = f"evidence-families-{model}"
    return submit(access, dataset="bccd-families", models=(model,), minutes=MINUTES, input_size=INPUT_SIZE, key=key)


def _report(client: Client, suites: dict[str, Suite]) -> dict[str, Any]:
    rows = {name: [kept(row.data) for row in client.results(suite=suite.uuid, show="all")] for name, suite in suites.items()}
    everything = [row for found in rows.values() for row in found]
    apart = max((abs(pair[0] - pair[1]) for pair in backend_pairs(everything)), default=None)
    return {
        "command": COMMAND,
        "environment": sorted({row["environment"] for row in everything}),
        "failed": failures(list(suites.values())),
        "marks": [
            *[mark(f"{name}: AP50 on test", AP50, _best_ap50(rows[name])) for name in MARKED if name in rows],
            mark("largest difference of AP between eager and onnxruntime, one checkpoint", LARGEST_BACKEND_DIFFERENCE, apart, at_most=True),
        ],
        "rows": rows,
    }


def _best_ap50(rows: list[dict[str, Any]]) -> float | None:
    return max((row["ap50"] for row in rows if row["ap50"] is not None), default=None)


def _write(report: dict[str, Any]) -> None:
    rows = sorted((row for found in report["rows"].values() for row in found), key=lambda row: (-(row["ap"] or 0.0), row["backend"]))
    lines = [
        "# Every family from scratch",
        "",
        f"Made by jobs of a running site: `{report['command']}`. Machine: {', '.join(report['environment'])}.",
        f"bccd (blood cells, 364 photos), no weights to start from, at most {MINUTES} minutes of training each at {INPUT_SIZE} px.",
        "Accuracy is COCO AP@[.5:.95] on the test split; latency is end to end at batch 1, protocol quick, one thread.",
        "",
        *mark_lines(report["marks"]),
        "",
        *table(rows),
    ]
    write("families", report, lines)


if __name__ == "__main__":
    sys.exit(main())
