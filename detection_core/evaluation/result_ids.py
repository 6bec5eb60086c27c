"""Whose ids a results file speaks in: those of the annotation files that a data set was read from, or those of its COCO export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from detection_core.data.dataset import DetectionDataset
from detection_core.schemas.base import InvalidInput

IdSource = Literal["source", "export"]
WORDS: dict[IdSource, str] = {
    "source": "the annotation files that the data set was read from",
    "export": "the COCO export of the data set",
}


@dataclass(frozen=True)
class IdSpace:
    """Ids in a file, image and category, to those of the ground truth. A category that is not here does not count."""

    images: Mapping[int, int]
    categories: Mapping[int, int]


def id_spaces(dataset: DetectionDataset, split: str) -> dict[IdSource, IdSpace]:
    """Return the ids in which a file of detections on `split` may speak: always those of the export, and the source's where it had any.

    Annotation files of several splits may use one id for different images; then the image of `split` is meant.
    """
    own = IdSpace(
        images={record.image_id: record.image_id for record in dataset.records},
        categories={label: label for label in range(1, len(dataset.classes) + 1)},
    )
    if not dataset.source_categories or any(record.source_id is None for record in dataset.split(split)):
        return {"export": own}
    images: dict[int, int] = {}
    for record in sorted(dataset.records, key=lambda record: record.split != split):
        if record.source_id is not None:
            images.setdefault(record.source_id, record.image_id)
    return {"source": IdSpace(images, {category: label + 1 for category, label in dataset.source_categories.items()}), "export": own}


def chosen_space(data: Sequence[Any], spaces: Mapping[IdSource, IdSpace], *, asked: IdSource | None, file: str) -> IdSpace:
    """Return the ids that the entries of a results file speak in: those asked for, else the only ones that they can be.

    Raises:
        InvalidInput: what was asked for is not there, or the entries mean one thing in the one and another in the other.
    """
    if asked is not None and asked not in spaces:
        raise InvalidInput(f"field 'ids': the data set was not read from COCO annotations, so it has no ids of {WORDS[asked]}; use export")
    if asked is not None or len(spaces) == 1:
        return spaces[asked or "export"]
    images, categories = _used(data, "image_id"), _used(data, "category_id")
    fitting = [name for name in get_args(IdSource) if images <= spaces[name].images.keys()] or ["source"]
    narrower = [name for name in fitting if categories <= spaces[name].categories.keys()]
    fitting = narrower or fitting
    if len(fitting) > 1 and _differ(spaces["source"], spaces["export"], images, categories):
        raise InvalidInput(
            f"{file}: its ids can be those of {WORDS['source']} and those of {WORDS['export']}, and mean other images or classes there; "
            "say which they are (field 'ids': source or export)"
        )
    return spaces[fitting[0]]


def _used(data: Sequence[Any], field: str) -> set[int]:
    """Return the ids that the entries use; what is no id is left to whoever reads the entries one by one."""
    return {entry[field] for entry in data if isinstance(entry, dict) and type(entry.get(field)) is int}


def _differ(one: IdSpace, other: IdSpace, images: set[int], categories: set[int]) -> bool:
    return any(one.images.get(number) != other.images.get(number) for number in images) or any(
        one.categories.get(number) != other.categories.get(number) for number in categories
    )
