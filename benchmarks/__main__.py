"""`python -m benchmarks run [--quick] [--only NAME ...]` and `python -m benchmarks list`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.catalogue import ROWS
from benchmarks.report import cells_of, write_report
from benchmarks.runner import Outcome, run_rows


def main() -> int:
    """Run the rows, write the report. Exit code 0 unless a row failed; a missed mark is told, not failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("command", choices=("run", "list"))
    parser.add_argument("--quick", action="store_true", help="smaller inputs, fewer rounds")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", choices=[row.name for row in ROWS], help="these rows alone")
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    if options.command == "list":
        print("\n".join(f"{row.name:<18}{row.what}" for row in rows))
        return 0
    outcomes = run_rows(rows, quick=options.quick, on_row=_tell)
    home = Path(os.environ.get("PARETOBOX_HOME") or ".paretobox")
    as_json, as_text = write_report(outcomes, home / "bench", quick=options.quick)
    missed = sum(not outcome.met and not outcome.problem for outcome in outcomes)
    failed = sum(bool(outcome.problem) for outcome in outcomes)
    print(f"{len(outcomes)} rows, {missed} marks missed, {failed} rows failed; {as_text} and {as_json}")
    return 1 if failed else 0


def _tell(outcome: Outcome) -> None:
    name, what, ours, beside, ratio, mark, verdict = cells_of(outcome)
    print(f"{verdict}  {name}: {what}\n    ours {ours}; beside {beside}; ratio {ratio}; mark {mark}; {outcome.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
