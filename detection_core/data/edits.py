"""What a person corrects between reading a data set and freezing it: names of classes, classes left out, splits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from detection_core.data.assemble import report_shared_groups
from detection_core.data.canonical import content_hash
from detection_core.data.dataset import SPLITS, DetectionDataset, ImageRecord, Split
from detection_core.data.health import HealthLog
from detection_core.data.splits import deal
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.specs import DatasetEdits, SplitRule
from detection_core.schemas.text import is_storable

PATTERN_TIMEOUT_S = 10.0
# The pattern is a stranger's: it runs in a process that can be ended, since some patterns never finish on some names.
_MATCH = """
import json, re, sys
pattern, files = json.load(sys.stdin)
found = [re.search(pattern, file) for file in files]
json.dump([match and (match[1] if match.re.groups else match[0]) for match in found], sys.stdout)
"""


def apply_edits(dataset: DetectionDataset, edits: DatasetEdits) -> DetectionDataset:
    """Return the data set with `edits` done and a new content hash; itself where there are none.

    Classes keep their order: a class that two became stands where the first of them stood. Boxes that are equal after a merge are
    kept once, with a line in the report.

    Raises:
        InvalidInput: naming the field, what it names in vain and what there is.
    """
    if not edits.rename and not edits.drop and edits.split is None:
        return dataset
    log = HealthLog(dataset.report)
    dataset = _with_classes(dataset, edits, log)
    records = dataset.records
    if edits.split is not None:
        records = _with_splits(dataset, records, edits.split, log)
    return replace(dataset, records=records, content_hash=content_hash(dataset.classes, records), report=log.report())


def pattern_lack(pattern: str) -> str | None:
    """Say why a group pattern cannot be searched for; None where it is a regular expression."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        return f"'{pattern}' is no regular expression ({error}); correct it"
    return None


def names_of_no_image(files: Sequence[str], lists: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return, for the lists of splits that have some, the names that mean none of the images."""
    places = _places(list(files))
    strange = {split: [name for name in names if not _meant(name, places)] for split, names in lists.items()}
    return {split: names for split, names in strange.items() if names}


def group_names(files: Sequence[str], pattern: str) -> list[str | None]:
    """Return the group of every file name: what the pattern's first bracket (or all of it) finds first in the name, else None.

    Raises:
        InvalidInput: the pattern is no regular expression, or takes more than 10 s.
    """
    if lack := pattern_lack(pattern):
        raise InvalidInput(f"field 'edits.split.group_pattern': {lack}")
    command = [sys.executable, "-I", "-S", "-c", _MATCH]
    try:
        done = subprocess.run(
            command, input=json.dumps([pattern, list(files)]), capture_output=True, text=True, timeout=PATTERN_TIMEOUT_S, check=True
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        raise InvalidInput(
            f"field 'edits.split.group_pattern': '{pattern}' cannot be searched for in {len(files)} names within {PATTERN_TIMEOUT_S:g} s; "
            "use one without a repeat inside a repeat"
        ) from None
    names: list[str | None] = json.loads(done.stdout)
    return [name or None for name in names]


def _with_classes(dataset: DetectionDataset, edits: DatasetEdits, log: HealthLog) -> DetectionDataset:
    if not edits.rename and not edits.drop:
        return dataset
    _check_names(dataset, edits)
    kept = [name for name in dataset.classes if name not in edits.drop]
    classes = tuple(dict.fromkeys(edits.rename.get(name, name) for name in kept))
    new_label = np.array(
        [-1 if name in edits.drop else classes.index(edits.rename.get(name, name)) for name in dataset.classes], dtype=np.int64
    )
    records = tuple(_relabelled(record, new_label) for record in dataset.records)
    if len(classes) < len(kept):
        records = tuple(_without_repeats(record, dataset.shown_file(record), log) for record in records)
    categories = {category: int(new_label[label]) for category, label in dataset.source_categories.items() if new_label[label] >= 0}
    return replace(dataset, classes=classes, records=records, source_categories=categories)


def _check_names(dataset: DetectionDataset, edits: DatasetEdits) -> None:
    there = ", ".join(dataset.classes)
    for field, names in (("rename", edits.rename), ("drop", edits.drop)):
        for name in names:
            if name not in dataset.classes:
                raise InvalidInput(f"field 'edits.{field}': there is no class '{name}'; the classes are {there}")
    for name, new in edits.rename.items():
        if name in edits.drop:
            raise InvalidInput(f"class '{name}' stands in 'edits.rename' and in 'edits.drop'; take it out of one of them")
        if not is_storable(new):
            raise InvalidInput(f"field 'edits.rename': the new name '{new}' holds characters that cannot be stored; give another")
        if new != new.strip():
            raise InvalidInput(f"field 'edits.rename': the new name '{new}' begins or ends with a space; take it away")
    if set(edits.drop) == set(dataset.classes):
        raise InvalidInput(f"field 'edits.drop' leaves no class of {there}; keep at least one")


def _relabelled(record: ImageRecord, new_label: np.ndarray) -> ImageRecord:
    labels = new_label[record.labels]
    return _kept(replace(record, labels=labels), labels >= 0)


def _without_repeats(record: ImageRecord, file: str, log: HealthLog) -> ImageRecord:
    """Keep one of the boxes that are equal since their classes became one."""
    rows = np.column_stack([record.boxes, record.labels, record.iscrowd])
    keep = np.zeros(len(rows), dtype=bool)
    keep[np.unique(rows, axis=0, return_index=True)[1]] = True
    for number in np.flatnonzero(~keep).tolist():
        log.add("duplicate_annotation", file, f"box {number + 1} repeats another since its class was merged", "the second was dropped")
    return _kept(record, keep)


def _kept(record: ImageRecord, keep: np.ndarray) -> ImageRecord:
    return replace(record, boxes=record.boxes[keep], labels=record.labels[keep], iscrowd=record.iscrowd[keep], area=record.area[keep])


def _with_splits(dataset: DetectionDataset, records: tuple[ImageRecord, ...], rule: SplitRule, log: HealthLog) -> tuple[ImageRecord, ...]:
    if rule.by == "list":
        splits = _listed(dataset, records, rule, log)
        wanted = [split for split in SPLITS if split in rule.lists]
    else:
        if rule.by == "group":
            records = _grouped(dataset, records, rule, log)
        splits = deal([record.group or record.sha256 for record in records], _shares(rule), seed=rule.seed)
        wanted = [split for split, share in _shares(rule) if share > 0]
    _check_filled(splits, wanted, records, rule)
    report_shared_groups([record.group for record in records], splits, log)
    return tuple(replace(record, split=split) for record, split in zip(records, splits, strict=True))


def _shares(rule: SplitRule) -> list[tuple[Split, float]]:
    train = 1 - rule.val - rule.test
    if train <= 1e-9:
        raise InvalidInput(
            f"'edits.split.val' is {rule.val:g} and 'edits.split.test' {rule.test:g}, which leaves nothing for train; "
            "make their sum less than 1"
        )
    return [(split, share) for split, share in (("train", train), ("val", rule.val), ("test", rule.test)) if share > 0]  # type: ignore[misc]


def _check_filled(splits: list[Split], wanted: list[Split], records: tuple[ImageRecord, ...], rule: SplitRule) -> None:
    counts = Counter(splits)
    for split in dict.fromkeys(("train", *wanted)):
        if not counts[split]:
            groups = len({record.group or record.sha256 for record in records})
            told = f" ({len(records)} images in {groups} groups)" if rule.by != "list" else ""
            remedy = f"name images of it in 'edits.split.lists.{split}'" if rule.by == "list" else "change the shares, or the groups"
            raise InvalidInput(f"the {split} split would have no image{told}; {remedy}")


def _grouped(dataset: DetectionDataset, records: tuple[ImageRecord, ...], rule: SplitRule, log: HealthLog) -> tuple[ImageRecord, ...]:
    """Name the groups by the pattern; without one they are those that the images carry."""
    if not rule.group_pattern:
        if not any(record.group for record in records):
            raise InvalidInput(
                "the images carry no groups; give 'edits.split.group_pattern', a regular expression whose first bracket finds the group "
                f"in a file name such as {dataset.shown_file(records[0])}"
            )
        return records
    files = [dataset.shown_file(record) for record in records]
    groups = group_names(files, rule.group_pattern)
    lone = [file for file, group in zip(files, groups, strict=True) if group is None]
    if len(lone) == len(files):
        raise InvalidInput(
            f"field 'edits.split.group_pattern': '{rule.group_pattern}' finds nothing in a name such as {files[0]}; correct it"
        )
    if lone:
        log.add("no_group", lone[0], f"the group pattern finds nothing in {len(lone)} names", "each of these images is dealt by itself")
    return tuple(replace(record, group=group or record.group) for record, group in zip(records, groups, strict=True))


def _listed(dataset: DetectionDataset, records: tuple[ImageRecord, ...], rule: SplitRule, log: HealthLog) -> list[Split]:
    """Give each image the split whose list names it by path, file name or stem; what no list names goes to train."""
    if not any(rule.lists.values()):
        raise InvalidInput("field 'edits.split.lists' names no image; give for each split the file names of its images")
    places = _places([dataset.shown_file(record) for record in records])
    found: dict[int, Split] = {}
    for split, names in rule.lists.items():
        for name, index in _found(split, names, places):
            if found.setdefault(index, split) != split:
                raise InvalidInput(f"'{name}' stands in the lists of {found[index]} and of {split}; take it out of one of them")
    loose = len(records) - len(found)
    if loose:
        log.add("split_made", dataset.name, f"{loose} images are in no list", "they were added to train")
    return [found.get(index, "train") for index in range(len(records))]


def _places(files: list[str]) -> dict[str, list[int]]:
    """Return every ending of every path, with and without the suffix, and the numbers of the images that it may mean."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, file in enumerate(files):
        parts = PurePosixPath(file).parts
        for start in range(len(parts)):
            ending = PurePosixPath(*parts[start:])
            for name in {ending.as_posix(), ending.with_suffix("").as_posix()}:
                places[name].append(index)
    return places | {file: [index] for index, file in enumerate(files)}  # a whole path means that image, whatever it also ends


def _found(split: str, names: Sequence[str], places: dict[str, list[int]]) -> list[tuple[str, int]]:
    """Return the number of the image that each name of a list means."""
    field = f"edits.split.lists.{split}"
    meant = [(name, _meant(name, places)) for name in names]
    if strange := [name for name, indices in meant if not indices]:
        shown = ", ".join(strange[:3]) + (" and so on" if len(strange) > 3 else "")
        raise InvalidInput(f"field '{field}': {len(strange)} names are of no image ({shown}); take them out, or correct them")
    for name, indices in meant:
        if len(indices) > 1:
            raise InvalidInput(f"field '{field}': '{name}' may mean {len(indices)} images; give its folders too")
    return [(name, indices[0]) for name, indices in meant]


def _meant(name: str, places: dict[str, list[int]]) -> list[int]:
    wanted = name.strip().replace("\\", "/").removeprefix("./").lstrip("/")
    found = places.get(wanted, [])
    while not found and "/" in wanted:  # a list made elsewhere may name folders that are not here
        wanted = wanted.partition("/")[2]
        found = places.get(wanted, [])
    return found
