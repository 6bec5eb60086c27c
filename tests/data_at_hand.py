"""Third-party data that tests may read where it is present; none of it belongs to the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("PARETOBOX_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def data_folder(name: str) -> Path:
    """Return the folder `name` of the data at hand, or skip the test with the reason."""
    folder = ROOT / name
    if not folder.is_dir():
        pytest.skip(f"the data set {name} is not at hand: set PARETOBOX_DATA to the folder that holds it")
    return folder
