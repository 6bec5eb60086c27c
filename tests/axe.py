"""Accessibility checks with axe. Its source is evaluated, not added as a script: the site's content policy refuses the latter."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import axe_playwright_python


@cache
def _source() -> str:
    found = sorted(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js"))
    return found[0].read_text(encoding="utf-8")


def violations(page: Any) -> list[str]:
    """Return what axe finds wrong with the page as it stands, one line a rule and place."""
    page.evaluate(_source())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]
