"""Own data in an afternoon: two uploaded data sets through the pipeline, bccd in the browser and by the client, sesame-weeds by the client.

    make up                                              (in one terminal)
    python -m benchmarks.evidence.own_data --data FOLDER (in another; FOLDER holds bccd/bccd.tar and sesame-weeds/sesame-weeds.tar)

Writes docs/evidence/own-data.json and .md. Stopped and started again it goes on with the suites it has submitted. Exit 0 only if
every mark was reached.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.evidence import browser
from tests.browser import launch_args
from webapp.client.api import Access, Client, Suite
from webapp.client.watch import watch_suite

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "evidence"
BCCD_MODELS = ("fcos_resnet10_fpn", "ssd_resnet10")
SESAME_MODELS = ("fcos_resnet10_fpn",)
LARGEST_BACKEND_DIFFERENCE = 0.005
OF_ONE_SITE = ("url", "uuid", "group", "suite", "checkpoint", "dataset_version")
COMMAND = "python -m benchmarks.evidence.own_data --data FOLDER"


def main() -> int:
    """Submit what is not yet submitted, wait, write the tables."""
    home = Path(os.environ.get("PARETOBOX_HOME") or ROOT / ".paretobox")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PARETOBOX_DATA") or ROOT.parent / "shared" / "data"))
    parser.add_argument("--access", type=Path, default=home / "access.json")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    access = json.loads(options.access.read_text())
    client = Client(Access.load(options.access))
    notes = options.access.with_name("evidence-own-data.json")
    steps: dict[str, Callable[[], str]] = {
        "bccd": lambda: _submit_in_browser(access, options.data / "bccd" / "bccd.tar"),
        "bccd by the client": lambda: _submit_by_client(
            options.access,
            options.data / "bccd" / "bccd.tar",
            name="bccd-client",
            models=BCCD_MODELS,
            minutes=4,
            input_size=224,
        ),
        "sesame-weeds": lambda: _submit_by_client(
            options.access,
            options.data / "sesame-weeds" / "sesame-weeds.tar",
            name="sesame-weeds",
            models=SESAME_MODELS,
            minutes=8,
            input_size=256,
            class_names="crop,weed",
        ),
    }
    suites = {name: _once(notes, name, step) for name, step in steps.items()}
    ended = {name: watch_suite(client, suite, console) for name, suite in suites.items()}
    report = _report(client, ended)
    _write(report)
    console.print((OUT / "own-data.md").read_text())
    return 0 if all(mark["reached"] for mark in report["marks"]) else 1


def _once(notes: Path, name: str, step: Callable[[], str]) -> str:
    """Do a step once and remember its suite, so that a second run goes on with it."""
    known = json.loads(notes.read_text()) if notes.exists() else {}
    if name not in known:
        known[name] = step()
        notes.write_text(json.dumps(known))
    return known[name]


def _submit_in_browser(access: dict[str, str], archive: Path) -> str:
    with browser.person(access["url"], launch_args()) as page:
        browser.log_in(page, access["user"], access["password"])
        browser.import_archive(page, archive, name="bccd")
        return browser.submit_pipeline(page, dataset="bccd", models=BCCD_MODELS, minutes=4, input_size=224)


def _submit_by_client(
    access: Path, archive: Path, *, name: str, models: Sequence[str], minutes: float, input_size: int, class_names: str = ""
) -> str:
    corrected = ["--names", class_names] if class_names else []
    _paretobox(access, "import", str(archive), "--name", name, *corrected, "--watch")
    chosen = [word for model in models for word in ("--model", model)]
    sizes = ["--minutes", str(minutes), "--input-size", str(input_size)]
    return _paretobox(access, "submit", *chosen, "--dataset", name, *sizes, "--key", f"evidence-{name}")["uuid"]


def _paretobox(access: Path, *words: str) -> dict[str, Any]:
    """Run the client's command and return what it printed; ends here when it failed."""
    done = subprocess.run(
        [sys.executable, "-m", "webapp.client", "--access", str(access), *words, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"paretobox {words[0]} ended with {done.returncode}: {done.stdout}")
    return json.loads(done.stdout)


def _report(client: Client, suites: dict[str, Suite]) -> dict[str, Any]:
    rows = {name: [kept(row.data) for row in client.results(suite=suite.uuid, show="all", sort="model")] for name, suite in suites.items()}
    best = {name: _best_ap50(found) for name, found in rows.items()}
    everything = [row for found in rows.values() for row in found]
    apart = max((abs(pair[0] - pair[1]) for pair in _backend_pairs(everything)), default=None)
    return {
        "command": COMMAND,
        "environment": sorted({row["environment"] for row in everything}),
        "failed": [
            f"{job.kind} {job.title}: {job.failure_message}" for suite in suites.values() for job in suite.jobs if job.state != "succeeded"
        ],
        "marks": [
            *[_mark(f"{name}: AP50 of the second best family on test", 0.60, _second(best[name])) for name in best if "bccd" in name],
            _mark("sesame-weeds: best AP50 on test", 0.45, max(best["sesame-weeds"].values(), default=None)),
            _mark(
                "largest difference of AP between eager and onnxruntime, one checkpoint", LARGEST_BACKEND_DIFFERENCE, apart, at_most=True
            ),
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


def _backend_pairs(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    by_model: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row["ap"] is not None:
            by_model.setdefault((row["dataset"], row["model"]), {})[row["backend"]] = row["ap"]
    return [(found["eager"], found["onnxruntime"]) for found in by_model.values() if len(found) == 2]


def _mark(what: str, wanted: float, found: float | None, *, at_most: bool = False) -> dict[str, Any]:
    reached = found is not None and (found <= wanted if at_most else found >= wanted)
    return {"what": what, "wanted": f"{'<=' if at_most else '>='} {wanted}", "found": found, "reached": reached}


def _write(report: dict[str, Any]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "own-data.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = [
        "# Own data through the pipeline",
        "",
        f"Made by jobs of a running site: `{report['command']}`. Machine: {', '.join(report['environment'])}.",
        "bccd (blood cells, 364 photos, Pascal VOC) was uploaded and submitted twice, in the browser and by the command `paretobox`,",
        "at most 4 minutes of training a model; sesame-weeds (250 field photos, YOLO, class names corrected to crop, weed) by the",
        "command, at most 8 minutes.",
        "Accuracy is COCO AP@[.5:.95] on the test split; latency is end to end at batch 1, protocol quick, one thread.",
        "",
        "| mark | wanted | found | |",
        "|---|---|---|---|",
    ]
    for mark in report["marks"]:
        found = "not measured" if mark["found"] is None else f"{mark['found']:.4f}"
        lines.append(f"| {mark['what']} | {mark['wanted']} | {found} | {'reached' if mark['reached'] else '**missed**'} |")
    for name, rows in report["rows"].items():
        lines += ["", f"## {name}", "", *table(rows)]
    (OUT / "own-data.md").write_text("\n".join(lines) + "\n")


def kept(row: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what means something on its own site only."""
    return {name: value for name, value in row.items() if name not in OF_ONE_SITE}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return results as the lines of a Markdown table."""
    head = "| model | backend | input | AP | AP50 | p50 ms | p95 ms | FPS | flags | front |"
    return [head, "|" + "---|" * 10, *[_line(row) for row in rows]]


def _line(row: dict[str, Any]) -> str:
    numbers = [f"{row[name] * 100:.1f}" if row[name] is not None else "–" for name in ("ap", "ap50")]
    numbers += [f"{row[name]:.3g}" if row[name] is not None else "–" for name in ("p50_ms", "p95_ms", "fps")]
    front = "front" if row["on_front"] else "flagged" if row["flags"] else "dominated"
    return f"| {row['model']} | {row['backend']} | {row['input_size']} | {' | '.join(numbers)} | {' '.join(row['flags'])} | {front} |"


if __name__ == "__main__":
    sys.exit(main())
