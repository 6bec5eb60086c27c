"""The JSON Schemas beside the code are those of the code."""

from detection_core.schemas.__main__ import FOLDER, json_schemas


def test_every_json_schema_is_committed_as_the_code_makes_it():
    wanted = json_schemas()
    found = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert found == wanted, "run `python -m detection_core.schemas` and commit the change"
