"""Write the JSON Schemas of specs, results and the manifest into the folder json/ beside this file: `python -m detection_core.schemas`."""

from __future__ import annotations

import json
from pathlib import Path

from detection_core.schemas.events import Event
from detection_core.schemas.manifest import Manifest
from detection_core.schemas.recipe import Recipe
from detection_core.schemas.results import RESULT_TYPES, Failure
from detection_core.schemas.specs import SPEC_TYPES

FOLDER = Path(__file__).parent / "json"


def json_schemas() -> dict[str, str]:
    """Return the text of every JSON Schema by file name."""
    types = {f"spec_{name}": schema for name, schema in SPEC_TYPES.items()}
    types |= {f"result_{name}": schema for name, schema in RESULT_TYPES.items()}
    types |= {"manifest": Manifest, "recipe": Recipe, "event": Event, "failure": Failure}
    return {f"{name}.json": json.dumps(schema.model_json_schema(), indent=1, sort_keys=True) + "\n" for name, schema in types.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in json_schemas().items():
        (FOLDER / name).write_text(text)
