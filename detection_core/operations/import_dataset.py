"""Bring a data set into canonical form: one .tar that every later job reads."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from detection_core.catalogue.datasets import DATASETS
from detection_core.data.canonical import write_canonical
from detection_core.data.dataset import DetectionDataset
from detection_core.data.downloads import DOWNLOADS, Fetching
from detection_core.data.edits import apply_edits
from detection_core.data.leaks import find_leaks
from detection_core.data.load import load_dataset, place_and_names, renamed
from detection_core.data.statistics import dataset_statistics
from detection_core.operations.context import JobContext
from detection_core.schemas.results import ImportResult, LeakReport
from detection_core.schemas.specs import DatasetEdits, ImportSpec

FILE_NAME = "dataset.tar"
# Shares of the work, as the progress shows it: reading ends, comparing ends.
_READ, _COMPARED = 0.5, 0.75
_TELL_EVERY_S = 1.0


def run(spec: ImportSpec, context: JobContext) -> ImportResult:
    """Read `spec.source` (a name of the catalogue, a folder, an uploaded .zip or .tar), check it, do `spec.edits` and write `dataset.tar`
    into the job's folder.

    Everything that was found wrong is in the result's report, and one warning for each kind of it among the events; images that stand in
    two splits are one warning more. A source in canonical form, such as a preview, keeps the report of its first reading.

    Raises:
        InvalidInput: the source cannot be read as a data set, or an edit names what is not there; nothing is written then.
        Stopped: the job was told to stop; there is nothing to resume but downloads.
    """
    context.events.progress(0.0, "reading the data set")
    # What an archive unpacks to is needed only here, so it lies in the job's folder and goes at the end.
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=context.out) as scratch:
        loaded, named = _named(_load(spec, context, Path(scratch)), spec)
        dataset = _described(apply_edits(loaded, spec.edits), spec)
        for code, count in dataset.report.counts.items():
            context.events.warning(f"{code}: {count} found; the report names the files")
        context.raise_if_stopped()
        leaks = find_leaks(dataset, tell=_teller(context, _READ, _COMPARED, "comparing the images of the splits"))
        _warn_of_leaks(leaks, context)
        context.raise_if_stopped()
        context.events.progress(_COMPARED, f"writing {len(dataset.records)} images")
        path = context.out / FILE_NAME
        write_canonical(dataset, path)
    context.events.progress(1.0, "done")
    return ImportResult(
        name=dataset.name,
        content_hash=dataset.content_hash,
        classes=dataset.classes,
        splits=dataset.summary(),
        report=dataset.report,
        form=dataset.form,
        licence=dataset.licence,
        source=dataset.source,
        statistics=dataset_statistics(dataset),
        leaks=leaks,
        edits=_told(named, spec.edits, loaded.classes),
        preview=spec.preview,
        files=(context.emit("dataset", path),),
    )


def _named(dataset: DetectionDataset, spec: ImportSpec) -> tuple[DetectionDataset, dict[str, str]]:
    """Give the classes the names that the spec lists in label order; return with it what that renames."""
    names = spec.class_names or place_and_names(spec.source.ref or "")[1]
    if not names:
        return dataset, {}
    changed = {old: new for old, new in zip(dataset.classes, names, strict=False) if old != new}
    return renamed(dataset, names), changed


def _told(named: dict[str, str], edits: DatasetEdits, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return what was changed against the files: `edits`, after the names that were given in label order where there are some.

    A class that another one was merged into is told as renamed to itself, so that it can be seen from the changes alone.
    """
    rename = edits.rename | {name: name for name in classes if name in edits.rename.values() and name not in (*edits.rename, *edits.drop)}
    steps = [DatasetEdits(rename=named), edits.model_copy(update={"rename": rename})]
    told = [{field: value for field, value in step.to_dict().items() if value} for step in steps]
    told = [step for step in told if step]
    return {"steps": told} if len(told) > 1 else told[0] if told else {}


def _load(spec: ImportSpec, context: JobContext, scratch: Path) -> DetectionDataset:
    source = spec.source
    place = place_and_names(source.ref)[0] if source.ref and not source.sha256 else str(context.resolve(source))
    entry = DATASETS.get(place)
    kept = entry is not None and not entry.downloads
    # Splits that are made anew need no other ones made first, and no line in the report about them.
    options = {"keep_splits": True, **spec.options} if spec.edits.split and not kept else spec.options
    return load_dataset(
        place,
        cache_dir=context.cache if kept else scratch,
        options=options,
        name=None if entry else source.name or spec.name,
        fetching=Fetching(context.cache / DOWNLOADS, context.inputs, _teller(context, 0.0, _READ, "")),
        check=True,
    )


def _described(dataset: DetectionDataset, spec: ImportSpec) -> DetectionDataset:
    """Say of the data set what the person said, else what the files say."""
    source = spec.origin or dataset.source or spec.source.name or spec.source.ref
    return replace(dataset, name=spec.name, licence=spec.licence or dataset.licence, source=source)


def _teller(context: JobContext, start: float, end: float, message: str) -> Callable[..., None]:
    """Return a function that tells the progress of a part of the job, at most once a second, and leaves by Stopped when asked to."""
    last = 0.0

    def tell(fraction: float, words: str = message) -> None:
        nonlocal last
        context.raise_if_stopped()
        if time.monotonic() - last >= _TELL_EVERY_S:
            last = time.monotonic()
            context.events.progress(start + (end - start) * fraction, words)

    return tell


def _warn_of_leaks(leaks: LeakReport, context: JobContext) -> None:
    if pairs := leaks.exact + leaks.near:
        first = leaks.leaks[0]
        such = f"{first.first} ({first.first_split}) and {first.second} ({first.second_split})"
        context.events.warning(
            f"leaks: {pairs} pairs of images are the same or nearly so and stand in two splits, such as {such}; divide the images by group"
        )
