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


def violations(page: Any, *, rules: tuple[str, ...] = ()) -> list[str]:
    """Return what axe finds wrong with the page as it stands, one line a rule and place; by some rules only where they are named."""
    page.evaluate(_source())
    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = page.evaluate("(options) => axe.run(document, options)", {"resultTypes": ["violations"], **only})["violations"]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


def violations_in_both_schemes(page: Any) -> list[str]:
    """Check the page whole in light, and by its colours in dark: nothing else of a page depends on the scheme."""
    page.emulate_media(color_scheme="light")
    found = violations(page)
    page.emulate_media(color_scheme="dark")
    found += [f"dark: {line}" for line in violations(page, rules=("color-contrast",))]
    page.emulate_media(color_scheme="light")
    return found
