"""Loading a data set, whatever it is: a built-in name, a folder, a .zip or .tar, in COCO, YOLO, VOC or canonical form."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from detection_core.catalogue.datasets import DATASETS
from detection_core.data.archives import unpacked_by_hash
from detection_core.data.assemble import assemble, checked_again
from detection_core.data.canonical import content_hash, is_canonical, read_canonical
from detection_core.data.coco import find_coco, read_coco
from detection_core.data.dataset import DetectionDataset, Form
from detection_core.data.downloads import DOWNLOADS, Fetching, load_downloaded
from detection_core.data.health import HealthLog
from detection_core.data.raw import RawDataset, check_class_names, usable_files
from detection_core.data.voc import find_voc, read_voc
from detection_core.data.yolo import find_yolo, read_yolo
from detection_core.schemas.base import InvalidInput

# name -> "module:function(cache_dir, options) -> DetectionDataset"
_BUILDERS = {"fields": "detection_core.data.fields:load_fields", "neon-trees": "detection_core.data.neon_trees:load_neon_trees"}
_OPTIONS = ("form", "seed", "keep_splits")


def load_dataset(
    ref: str,
    *,
    cache_dir: Path,
    class_names: tuple[str, ...] | None = None,
    options: dict[str, Any] | None = None,
    name: str | None = None,
    fetching: Fetching | None = None,
    check: bool = False,
) -> DetectionDataset:
    """Load a data set.

    Args:
        ref: a built-in name, or the path of a folder, .zip or .tar; `REF:names=a,b` gives the classes new names in label order.
        cache_dir: where archives are unpacked and built-in data sets are kept.
        class_names: the same as `:names=`, and stronger.
        options: for files `form` (coco, yolo or voc, where a folder holds several), `seed` of the splits that the data does not name
            (default 0), `keep_splits` (make none); for a built-in data set its own.
        name: what the data set and messages about it are called; by default the last part of the path.
        check: look at a canonical data set as closely as at any other; without it, it is taken for what an import wrote.
        fetching: how the files of a catalogue entry that is downloaded are had; by default into `cache_dir`, without a word.

    Raises:
        InvalidInput: nothing is there, the form is not clear, no image is left; it says what was looked for.
    """
    place, named = place_and_names(ref)
    wanted = class_names or named
    options = dict(options or {})
    if place in DATASETS:
        dataset = _builtin(place, cache_dir, options, fetching)
    else:
        dataset = _from_files(Path(place).expanduser(), cache_dir, options, name, check)
    if name:
        dataset = replace(dataset, name=name)
    return renamed(dataset, wanted) if wanted else dataset


def place_and_names(ref: str) -> tuple[str, tuple[str, ...] | None]:
    """Return the name or path of a `ref`, and the class names that it gives behind `:names=`, if it does."""
    place, _, names = ref.partition(":names=")
    return place, tuple(part.strip() for part in names.split(",")) if names else None


def _builtin(name: str, cache_dir: Path, options: dict[str, Any], fetching: Fetching | None) -> DetectionDataset:
    if DATASETS[name].downloads:
        return load_downloaded(DATASETS[name], cache_dir, options, fetching or Fetching(cache_dir / DOWNLOADS))
    module, function = _BUILDERS[name].split(":")
    load: Callable[[Path, dict[str, Any]], DetectionDataset] = getattr(importlib.import_module(module), function)
    return load(cache_dir, options)


def _from_files(path: Path, cache_dir: Path, options: dict[str, Any], name: str | None, check: bool) -> DetectionDataset:
    if not path.exists():
        raise InvalidInput(
            f"'{path}' is neither a built-in data set ({', '.join(DATASETS)}) nor an existing folder, .zip or .tar; correct the name"
        )
    _check_options(options)
    root = path.resolve() if path.is_dir() else unpacked_by_hash(path, cache_dir, name=name or path.name)
    canonical = next((folder for folder in (root, *_only_child(root)) if is_canonical(folder)), None)
    if canonical:
        return checked_again(read_canonical(canonical)) if check else read_canonical(canonical)
    log = HealthLog()
    form, raw = _read(root, options.get("form"), log, name or path.name)
    return assemble(
        raw,
        root,
        log,
        name=name or path.resolve().stem,
        form=form,
        seed=options.get("seed", 0),
        keep_splits=options.get("keep_splits", False),
    )


def _only_child(root: Path) -> tuple[Path, ...]:
    """Return the only folder there is; a link may lead out of what a person was allowed to import, so it is none."""
    folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and not path.name.startswith((".", "__MACOSX"))]
    return tuple(folders) if len(folders) == 1 else ()


def _read(root: Path, form: Form | None, log: HealthLog, name: str) -> tuple[Form, RawDataset]:
    """Find out which form lies under `root` and read it."""
    files = usable_files(root, log)
    found: dict[Form, Callable[[], RawDataset]] = {}
    if coco := find_coco(root, files, log):
        found["coco"] = lambda: read_coco(coco, files, log)
    if yolo := find_yolo(root, files):
        found["yolo"] = lambda: read_yolo(root, yolo, files, log)
    if voc := find_voc(root, files, log):
        found["voc"] = lambda: read_voc(root, voc, files, log)
    if form:
        found = {form: found[form]} if form in found else {}
    if len(found) > 1:
        raise InvalidInput(
            f"'{name}' holds annotations in more than one form ({' and '.join(found)}); keep one, or say which is meant: "
            "'Annotations' where it is imported in the browser, --form of paretobox import, `options.form` of the spec"
        )
    if not found:
        raise InvalidInput(f"'{name}' holds no data set{f' in {form} form' if form else ''}: {_looked_for(log)}")
    chosen, read = next(iter(found.items()))
    return chosen, read()


def _looked_for(log: HealthLog) -> str:
    broken = [f"{issue.file}: {issue.problem}" for issue in log.report().issues]
    looked = (
        "looked for COCO (a .json with images, annotations and categories), YOLO (label .txt files beside the images or in labels/ next to "
        "images/) and Pascal VOC (.xml files with an annotation); put one of them beside the images"
    )
    return f"{'; '.join(broken[:3])}; {looked}" if broken else looked


def _check_options(options: dict[str, Any]) -> None:
    for key in options:
        if key not in _OPTIONS:
            raise InvalidInput(f"option '{key}' of a data set is not known; use {', '.join(_OPTIONS)}")
    if options.get("form") not in (None, "coco", "yolo", "voc"):
        raise InvalidInput(f"option form is '{options['form']}'; use coco, yolo or voc")
    if not isinstance(options.get("seed", 0), int) or not isinstance(options.get("keep_splits", False), bool):
        raise InvalidInput("option seed must be a whole number and keep_splits true or false; correct them")


def renamed(dataset: DetectionDataset, names: tuple[str, ...]) -> DetectionDataset:
    """Return the data set with other names for its classes, in label order; raises InvalidInput where they do not fit."""
    if len(names) != len(dataset.classes):
        raise InvalidInput(
            f"{len(names)} class names were given ({', '.join(names)}) but there are {len(dataset.classes)}: {', '.join(dataset.classes)}"
        )
    check_class_names(names, "the list of class names")
    return replace(dataset, classes=names, content_hash=content_hash(names, dataset.records))
