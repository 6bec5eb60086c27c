"""Fresh processes close the holes of the import linter: `__init__` files, imports by name, imports at run time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BLOCK = """
import sys, pkgutil, importlib
for name in {blocked!r}:
    sys.modules[name] = None
def load(package, skip=()):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, package + "."):
        if not found.name.endswith("__main__") and not found.name.startswith(skip):
            importlib.import_module(found.name)
"""

HEAVY = ("torch", "torchvision", "onnxruntime", "hotcoco", "pycocotools")


def run_in_fresh_process(code: str, blocked: tuple[str, ...]) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=blocked) + code], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_site_loads_whole_where_torch_does_not_exist():
    code = "import django; django.setup(); load('webapp', skip=()); import webapp.urls"
    run_in_fresh_process(code, (*HEAVY, "workers"))


def test_the_worker_loads_whole_where_torch_does_not_exist():
    run_in_fresh_process("import django; django.setup(); load('workers')", HEAVY)


def test_the_supervisor_loads_whole_where_torch_does_not_exist():
    run_in_fresh_process("load('deploy')", HEAVY)


@pytest.mark.parametrize("package", ["detection_core.catalogue", "detection_core.schemas"])
def test_catalogue_and_schemas_load_where_torch_does_not_exist(package):
    run_in_fresh_process(f"load({package!r}); import detection_core.frontier", (*HEAVY, "numpy", "PIL"))


def test_the_library_loads_whole_where_django_and_celery_do_not_exist():
    run_in_fresh_process("load('detection_core')", ("django", "celery", "psycopg", "plotly"))


def test_the_client_loads_where_django_and_torch_do_not_exist():
    run_in_fresh_process("load('webapp.client')", (*HEAVY, "django", "celery", "psycopg", "plotly"))


def test_the_import_contracts_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(linter), "--no-cache"], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
