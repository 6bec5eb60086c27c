"""Third-party data that tests may read where it is present; none of it belongs to the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("PARETOBOX_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def required() -> bool:
    """Tell whether missing data is a failure: on CI, where somebody has said where it lies. Elsewhere nobody has to have it."""
    return os.environ.get("CI", "").lower() == "true" and bool(os.environ.get("PARETOBOX_DATA"))


def data_folder(name: str) -> Path:
    """Return the folder `name` of the data at hand, or skip the test with the reason; fail it where the data has to be there."""
    folder = ROOT / name
    if not folder.is_dir():
        if required():
            pytest.fail(f"the data set {name} is not in the folder that PARETOBOX_DATA names; correct the variable, or take it out to skip")
        pytest.skip(f"the data set {name} is not at hand: set PARETOBOX_DATA to the folder that holds it")
    return folder
