"""Keep what `make demo` found as evidence: `python -m benchmarks.evidence.demo` reads demo.json and writes docs/evidence/demo.{json,md}."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.evidence.report import kept, table, write
from benchmarks.evidence.submitting import ROOT


def main() -> int:
    """Write the two files."""
    home = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.environ.get("PARETOBOX_HOME") or ROOT / ".paretobox")
    found = json.loads((home / "demo.json").read_text())
    rows = [kept(row) for row in found["rows"]]
    report: dict[str, Any] = {"command": "make demo", **found, "rows": rows}
    del report["url"], report["suite"]
    lines = [
        "# The starter benchmark",
        "",
        f"Made by `make demo` in a fresh clone. Data: {rows[0]['dataset']}, {rows[0]['split']} split.",
        f"Machine: {rows[0]['environment']}. First point after {found['first_point_s']:.0f} s, all {len(rows)} results",
        f"after {found['seconds']:.0f} s, package installation not counted; jobs that failed: {len(found['failed'])}.",
        "",
        *table(rows),
    ]
    write("demo", report, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
