"""Bring a data set into canonical form: one .tar that every later job reads."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from detection_core.catalogue.datasets import DATASETS
from detection_core.data.canonical import write_canonical
from detection_core.data.dataset import DetectionDataset
from detection_core.data.load import load_dataset
from detection_core.operations.context import JobContext
from detection_core.schemas.results import ImportResult
from detection_core.schemas.specs import ImportSpec

FILE_NAME = "dataset.tar"


def run(spec: ImportSpec, context: JobContext) -> ImportResult:
    """Read `spec.source` (a built-in name, a folder, an uploaded .zip or .tar), check it and write `dataset.tar` into the job's folder.

    Everything that was found wrong is in the result's report, and one warning for each kind of it among the events.

    Raises:
        InvalidInput: the source cannot be read as a data set; nothing is written then.
        Stopped: the job was told to stop; there is nothing to resume.
    """
    context.events.progress(0.0, "reading the data set")
    # What an archive unpacks to is needed only here, so it lies in the job's folder and goes at the end.
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=context.out) as scratch:
        dataset = _load(spec, context, Path(scratch))
        for code, count in dataset.report.counts.items():
            context.events.warning(f"{code}: {count} found; the report names the files")
        context.raise_if_stopped()
        context.events.progress(0.7, f"writing {len(dataset.records)} images")
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
        files=(context.emit("dataset", path),),
    )


def _load(spec: ImportSpec, context: JobContext, scratch: Path) -> DetectionDataset:
    source = spec.source
    ref = source.ref if source.ref and not source.sha256 else str(context.resolve(source))
    builtin = ref.partition(":names=")[0] in DATASETS
    dataset = load_dataset(
        ref,
        cache_dir=context.cache if builtin else scratch,
        class_names=spec.class_names,
        options=spec.options,
        name=None if builtin else source.name or spec.name,
    )
    return replace(dataset, name=spec.name, source=dataset.source or source.name or source.ref)
