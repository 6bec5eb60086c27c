"""deploy/env.example lists every variable that the site and the workers read, and no other."""

from __future__ import annotations

import re

from deploy.local.stack import ROOT

READ = re.compile(r'\benv\.(?:text|boolean|integer|words|folders?)\(\s*"([A-Z0-9_]+)"')
LISTED = re.compile(r"^#?([A-Z][A-Z0-9_]+)=", re.MULTILINE)
READ_BY_BOTO3 = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
FOR_TESTS = {"PARETOBOX_TEST_DB"}


def _read() -> set[str]:
    sources = [path for folder in ("webapp", "workers") for path in (ROOT / folder).rglob("*.py")]
    return {name for path in sources for name in READ.findall(path.read_text())} - FOR_TESTS


def test_every_variable_that_is_read_is_listed() -> None:
    assert _read() - set(LISTED.findall((ROOT / "deploy" / "env.example").read_text())) == set()


def test_every_variable_that_is_listed_is_read() -> None:
    assert set(LISTED.findall((ROOT / "deploy" / "env.example").read_text())) - _read() - READ_BY_BOTO3 == set()
