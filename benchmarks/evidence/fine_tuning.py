"""Is fine-tuning worth it? FastestDet from its COCO weights and from scratch on sesame-weeds, three seeds each, judged on the same draws.

    make up                                                 (in one terminal)
    python -m benchmarks.evidence.fine_tuning --data FOLDER (in another; FOLDER holds weights/fastestdet and sesame-weeds/sesame-weeds.tar)

Writes docs/evidence/fine-tuning.json and .md. Stopped and started again it goes on with the suites it has submitted. Exit 0 only if
every mark was reached.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.evidence.report import OUT, failures, kept, mark, mark_lines, table, write
from benchmarks.evidence.submitting import arguments, import_archive, once, paretobox, submit
from webapp.client.api import Access, Client, Suite
from webapp.client.watch import watch_suite

MODEL = "fastestdet"
SEEDS = (0, 1, 2)
MINUTES = 6
INPUT_SIZE = 352
WEIGHTS = "weight_AP05_0.253207_280-epoch.pth"
COMMAND = "python -m benchmarks.evidence.fine_tuning --data FOLDER"


def main() -> int:
    """Submit what is not yet submitted, wait, write the table."""
    options = arguments(__doc__).parse_args()
    console = Console(highlight=False, soft_wrap=True)
    client = Client(Access.load(options.access))
    notes = options.access.with_name("evidence-fine-tuning.json")
    import_archive(options.access, options.data / "sesame-weeds" / "sesame-weeds.tar", name="sesame-weeds", class_names="crop,weed")
    coco = once(notes, "weights", partial(_import_weights, client, options.access, options.data / "weights" / "fastestdet"))
    ended: dict[str, list[Suite]] = {"from COCO's weights": [], "from scratch": []}
    for seed in SEEDS:
        for name, weights in zip(ended, (coco, ""), strict=True):
            suite = once(notes, f"{name}, seed {seed}", partial(_queue, options.access, seed, weights))
            ended[name].append(watch_suite(client, suite, console))
    report = _report(client, ended)
    _write(report)
    console.print((OUT / "fine-tuning.md").read_text())
    return 0 if all(entry["reached"] for entry in report["marks"]) else 1


def _import_weights(client: Client, access: Path, folder: Path) -> str:
    """Bring FastestDet's published weights to the site and return the hash of the checkpoint."""
    words = ("--layout", "fastestdet", "--name", MODEL, "--classes", str(folder / "coco.names"), "--licence", "BSD-3-Clause", "--watch")
    suite = paretobox(access, "import-model", str(folder / WEIGHTS), *words)
    (job,) = suite["jobs"]
    return client.job(job["uuid"]).data["result"]["sha256"]


def _queue(access: Path, seed: int, weights: str) -> str:
    key = f"evidence-fine-tuning-{seed}-{'coco' if weights else 'scratch'}"
    more = ("--weights", weights) if weights else ()
    return submit(
        access, dataset="sesame-weeds", models=(MODEL,), minutes=MINUTES, input_size=INPUT_SIZE, key=key, more=("--seed", str(seed), *more)
    )


def _report(client: Client, suites: dict[str, list[Suite]]) -> dict[str, Any]:
    found = {name: [_eager(client, suite) for suite in those] for name, those in suites.items()}
    pairs = list(zip(*found.values(), strict=True))
    compared = [client.compare([row["uuid"] for row in pair])[0] for pair in pairs]
    shown = sum(verdict["winner"] == pair[0]["uuid"] for verdict, pair in zip(compared, pairs, strict=True))
    return {
        "command": COMMAND,
        "environment": sorted({row["environment"] for rows in found.values() for row in rows}),
        "failed": failures([suite for those in suites.values() for suite in those]),
        "marks": [mark("seeds at which fine-tuning beats scratch by more than chance", len(SEEDS), shown)],
        "differences": [{name: verdict[name] for name in ("difference", "low", "high", "p")} for verdict in compared],
        "rows": {name: [kept(row) for row in rows] for name, rows in found.items()},
    }


def _eager(client: Client, suite: Suite) -> dict[str, Any]:
    return next(row.data for row in client.results(suite=suite.uuid, show="all") if row.backend == "eager")


def _write(report: dict[str, Any]) -> None:
    lines = [
        "# Fine-tuned against from scratch",
        "",
        f"Made by jobs of a running site: `{report['command']}`. Machine: {', '.join(report['environment'])}.",
        f"FastestDet on sesame-weeds (250 field photos), at most {MINUTES} minutes of training each at {INPUT_SIZE} px, from its published",
        "COCO weights and from random ones, each with three seeds. Accuracy is COCO AP@[.5:.95] on the test split; a difference is of the",
        "two trainings of one seed on the same 1,000 draws of the test images, with its 95% interval.",
        "",
        *mark_lines(report["marks"]),
        "",
        "| seed | AP more by fine-tuning, times 100 | 95% interval | p |",
        "|---|---|---|---|",
    ]
    for seed, one in zip(SEEDS, report["differences"], strict=True):
        low, high = one["low"] * 100, one["high"] * 100
        lines.append(f"| {seed} | {one['difference'] * 100:+.1f} | {low:+.1f} to {high:+.1f} | {one['p']:.3f} |")
    for name, rows in report["rows"].items():
        lines += ["", f"## {name[0].upper()}{name[1:]}", "", *table(rows)]
    write("fine-tuning", report, lines)


if __name__ == "__main__":
    sys.exit(main())
