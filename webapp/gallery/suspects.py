"""Suspected label errors: which are listed, and all of them as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter

from django.urls import reverse

from webapp.gallery.examples import Examples, Suspect
from webapp.gallery.selectors import Looked

KINDS = {"missing_label": "missing label", "wrong_class": "wrong class", "bad_box": "badly drawn box", "spurious_label": "label of nothing"}
COLUMNS = ("image", "file", "kind", "labelled", "seen", "score", "x1", "y1", "x2", "y2", "sentence", "page")
FORMULA_STARTS = ("=", "+", "-", "@", "\t")


def suspect_kinds(examples: Examples) -> list[tuple[str, str, int]]:
    """Return the kinds of suspects that occur, each with its words and how many there are."""
    found = Counter(suspect.kind for suspect in examples.suspects)
    return [(kind, words, found[kind]) for kind, words in KINDS.items() if found[kind]]


def suspects_shown(examples: Examples, kind: str) -> list[Suspect]:
    """Return the suspects of a kind, of every kind by default, the surest first as in the file."""
    known = [suspect for suspect in examples.suspects if suspect.image in examples.places and suspect.kind in KINDS]
    return [suspect for suspect in known if kind in ("", suspect.kind)]


def suspects_csv(looked: Looked, suspects: list[Suspect]) -> str:
    """Write suspects as CSV: boxes in pixels of the original image, that of the label where there is one, else of the detection."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_harmless(value) for value in _row(looked, suspect)] for suspect in suspects)
    return text.getvalue()


def _row(looked: Looked, suspect: Suspect) -> list[str | float | int]:
    examples = looked.examples
    place = examples.places[suspect.image]
    labelled = seen = ""
    box = [0.0, 0.0, 0.0, 0.0]
    if suspect.detection is not None:
        row = examples.starts[place] + suspect.detection
        seen, box = examples.classes[examples.labels[row]], examples.boxes[row].tolist()
    if suspect.truth is not None:
        row = examples.truth_starts[place] + suspect.truth
        labelled, box = examples.classes[examples.truth_labels[row]], examples.truth_boxes[row].tolist()
    return [
        suspect.image,
        examples.files[place].removeprefix("images/"),
        KINDS[suspect.kind],
        labelled,
        seen,
        suspect.score,
        *(round(side, 1) for side in box),
        suspect.words,
        reverse("gallery-image", args=[looked.job.uuid, suspect.image]),
    ]


def _harmless(value: str | float | int) -> str | float | int:
    """A text that a spreadsheet would run as a formula gets a quote in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
