"""Imports become versions: previews wait, changes compose, what is made out of a preview takes its place."""

from __future__ import annotations

from typing import Any

import pytest

from detection_core.schemas.results import DatasetStatistics, HealthReport, ImportResult, SplitSummary
from detection_core.schemas.specs import DatasetEdits
from tests.factories import make_artifact, make_checkpoint, make_result, sha
from webapp.artifacts.models import Artifact
from webapp.datasets.edits import edit_words
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.selectors import version_choices
from webapp.datasets.services import dataset_freeze, dataset_version_record

pytestmark = pytest.mark.django_db

SWAP = {"rename": {"weed": "crop", "crop": "weed"}, "drop": [], "split": None}
DROP = {"rename": {}, "drop": ["weed"], "split": None}


def imported(content: str = "as uploaded", *, made_from: DatasetVersion | None = None, **fields: Any) -> DatasetVersion:
    splits = {name: SplitSummary(images=2, boxes=3, per_class={"crop": 3}) for name in ("train", "val", "test")}
    values: dict[str, Any] = {"content_hash": sha(content), "form": "yolo", "statistics": DatasetStatistics(image_sizes={"9x9": 6})}
    values |= {"name": "weeds", "classes": ("weed", "crop"), "splits": splits, "report": HealthReport(), "files": ()} | fields
    artifact = Artifact.objects.filter(sha256=sha(content, "dataset", "weeds.tar")).first()
    artifact = artifact or make_artifact("dataset", "weeds.tar", key=content)
    source = made_from.artifact_id if made_from else None
    return dataset_version_record(result=ImportResult(**values), artifact=artifact, user=None, made_from=source)


def numbers() -> list[tuple[int, bool]]:
    return list(DatasetVersion.objects.order_by("number").values_list("number", "frozen"))


def test_an_import_is_frozen_at_once_and_a_preview_is_not():
    assert imported().frozen
    preview = imported("another", preview=True)
    assert (preview.number, preview.frozen) == (2, False)
    assert preview.statistics["image_sizes"] == {"9x9": 6}


def test_jobs_may_choose_frozen_versions_only():
    first, preview = imported(), imported("another", preview=True)
    assert list(version_choices()) == [first]
    dataset_freeze(version=preview)
    assert set(version_choices()) == {first, preview}


def test_what_is_made_out_of_a_preview_takes_its_number_and_remembers_the_change():
    preview = imported(preview=True)
    made = imported("swapped", made_from=preview, edits=SWAP, form="canonical")
    assert (made.number, made.frozen, made.form) == (1, True, "yolo")
    assert made.edits == {"steps": [SWAP]}
    assert numbers() == [(1, True)]


def test_changes_compose_and_the_first_stays_in_the_history():
    first = imported("swapped", made_from=imported(preview=True), edits=SWAP)
    second = imported("dropped", made_from=first, edits=DROP)
    assert second.edits == {"steps": [SWAP, DROP]}
    assert numbers() == [(1, True), (2, True)]


def test_a_history_that_the_library_tells_whole_is_not_kept_twice():
    first = imported("swapped", made_from=imported(preview=True), edits={"steps": [SWAP]})
    assert imported("dropped", made_from=first, edits={"steps": [SWAP, DROP]}).edits == {"steps": [SWAP, DROP]}


def test_a_preview_of_what_is_frozen_already_is_that_version():
    first = imported()
    assert imported(preview=True) == first
    assert numbers() == [(1, True)]


def test_importing_the_content_of_a_preview_freezes_it():
    preview = imported(preview=True)
    assert imported() == preview
    assert numbers() == [(1, True)]


def test_a_preview_that_was_frozen_meanwhile_stays_beside_what_is_made_out_of_it():
    preview = dataset_freeze(version=imported(preview=True))
    assert imported("swapped", made_from=preview, edits=SWAP).number == 2
    assert numbers() == [(1, True), (2, True)]


def test_a_preview_that_something_refers_to_is_not_removed():
    preview = imported(preview=True)
    make_result(dataset_version=preview, checkpoint=make_checkpoint(dataset_version=preview))
    assert imported("swapped", made_from=preview, edits=SWAP).number == 2
    assert numbers() == [(1, False), (2, True)]


def test_a_version_from_before_learns_its_statistics_from_the_next_import_of_its_content():
    old = imported()
    DatasetVersion.objects.update(statistics={}, leaks={})
    imported()
    old.refresh_from_db()
    assert old.statistics["image_sizes"] == {"9x9": 6}


def test_what_the_files_tell_of_their_licence_never_replaces_what_a_person_told():
    imported(licence="MIT", source="the archive")
    Dataset.objects.update(licence="CC0")
    imported("again", licence="GPL", source="elsewhere")
    dataset = Dataset.objects.get()
    assert (dataset.licence, dataset.source) == ("CC0", "the archive")


def test_text_that_postgres_cannot_hold_is_stored_as_an_escape():
    edits = {"steps": [{"drop": ["a\x00"]}]}
    version = imported(licence="CC\x000", source="the \x00 field", edits=edits, name="weeds\x00")
    version.refresh_from_db()
    version.dataset.refresh_from_db()
    assert (version.dataset.name, version.dataset.licence, version.dataset.source) == ("weeds\\x00", "CC\\x000", "the \\x00 field")
    assert version.edits == {"steps": [{"drop": ["a\\x00"]}]}


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        ({"weed": "crop"}, ["weed renamed crop"]),
        ({"weed": "crop", "crop": "crop"}, ["weed merged into crop"]),
        ({"dock": "weed", "thistle": "weed", "weed": "weed"}, ["dock and thistle merged into weed"]),
        ({"dock": "weeds", "thistle": "weeds"}, ["dock and thistle merged into weeds"]),
        ({"dock": "dock"}, []),
    ],
)
def test_a_merge_is_told_as_a_merge_also_into_a_class_that_stays(rename, words):
    assert edit_words(DatasetEdits(rename=rename)) == words
