"""Pascal VOC form: one .xml for every image, splits as lists of names in ImageSets/Main, at any depth."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Container
from pathlib import Path, PurePosixPath
from typing import NoReturn
from xml.parsers import expat

from detection_core.data.health import HealthLog
from detection_core.data.raw import MAX_CLASS_NAME, RawBox, RawDataset, RawImage, is_image
from detection_core.data.splits import split_named
from detection_core.schemas.base import InvalidInput

# Lists of one class put -1, 0 or 1 behind the name.
_MARK = re.compile(r"\s+-?[01]$")
# Ten thousand objects take about 3 MB.
MAX_XML_BYTES = 8 << 20


def find_voc(root: Path, files: list[str], log: HealthLog) -> dict[str, ElementTree.Element]:
    """Return the annotation trees under `root` by file; .xml files of another kind are passed over."""
    trees = {}
    for file in files:
        if not file.lower().endswith(".xml"):
            continue
        try:
            tree = _parsed(root / file)
        except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
            log.add("broken_xml", file, f"this is not XML ({error})", "the file was left out with its boxes")
            continue
        if tree.tag == "annotation":
            trees[file] = tree
    return trees


def read_voc(root: Path, trees: dict[str, ElementTree.Element], files: list[str], log: HealthLog) -> RawDataset:
    """Read all annotations; classes are the names that occur, in alphabetical order. Coordinates are taken as they stand.

    Objects marked `difficult` become crowd boxes: neither found nor missed counts for them.

    Raises:
        InvalidInput: no object has a name.
    """
    names = sorted({name for tree in trees.values() for item in tree.iter("object") if (name := _class_name(item))})
    if not names:
        first = next(iter(trees))
        raise InvalidInput(f"none of the {len(trees)} .xml annotations, such as {first}, names an object; add the objects with their names")
    labels = {name: index for index, name in enumerate(names)}
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        if is_image(file):
            places[PurePosixPath(file).stem].append(file)
    splits = _splits(root, files, places)
    images: list[RawImage] = []
    for file, tree in trees.items():
        image = _image_of(file, tree, places)
        if image is None:
            log.add(
                "missing_image",
                _text(tree, "filename") or file,
                f"{file} describes it, but there is no such file",
                "its boxes were left out",
            )
            continue
        stem = PurePosixPath(file).stem
        split = splits.get(stem) or next(
            (found for part in reversed(PurePosixPath(image).parts[:-1]) if (found := split_named(part))), None
        )
        images.append(RawImage(image, split, _boxes(tree, labels, image, log), size=_size(tree)))
    _report_unmatched(places, images, splits, log)
    return RawDataset(tuple(names), images)


def _parsed(path: Path) -> ElementTree.Element:
    """Read an annotation. One with a document type is refused, whatever its encoding: entities of a few bytes can mean gigabytes.

    Raises:
        ValueError: it is too large, or has a document type.
        expat.ExpatError: it is not XML; LookupError where nobody knows its encoding.
    """
    if (size := path.stat().st_size) > MAX_XML_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than the {MAX_XML_BYTES:,} that annotations of one image may have")
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _doctype_refused
    parser.Parse(path.read_bytes(), True)
    return builder.close()


def _doctype_refused(*_: object) -> NoReturn:
    raise ValueError("it declares a document type or entities, which annotations never need")


def _image_of(file: str, tree: ElementTree.Element, places: dict[str, list[str]]) -> str | None:
    """Find the image of an annotation: the one with its stem, else the one that its `filename` gives; the nearest of several."""
    path = PurePosixPath(file)
    stems = [path.stem, PurePosixPath((_text(tree, "filename") or "").replace("\\", "/")).stem]
    candidates = next((places[stem] for stem in stems if stem in places), [])
    near = sorted(candidates, key=lambda image: (-_shared(path, PurePosixPath(image)), image))
    return near[0] if near else None


def _shared(first: PurePosixPath, second: PurePosixPath) -> int:
    count = 0
    for one, other in zip(first.parts, second.parts, strict=False):
        if one != other:
            break
        count += 1
    return count


def _splits(root: Path, files: list[str], stems: Container[str]) -> dict[str, str]:
    """Return image stem -> split from ImageSets/Main; trainval.txt counts only for images that no other list names."""
    splits: dict[str, str] = {}
    lists = [file for file in files if "ImageSets" in file and PurePosixPath(file).stem in ("train", "val", "test", "trainval")]
    for file in sorted(lists, key=lambda name: PurePosixPath(name).stem != "trainval"):
        split = split_named(PurePosixPath(file).stem)
        for line in (root / file).read_text(encoding="utf-8", errors="replace").splitlines():
            whole = line.strip()
            if split and whole:
                splits[whole if whole in stems else _MARK.sub("", whole)] = split
    return splits


def _boxes(tree: ElementTree.Element, labels: dict[str, int], image: str, log: HealthLog) -> list[RawBox]:
    boxes = []
    for number, item in enumerate(tree.iter("object"), start=1):
        name = _class_name(item)
        where = f"object {number} ({name or 'no name'})"
        bounds = [_text(item, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x1, y1, x2, y2 = (float(value) for value in bounds)
        except ValueError:
            log.add("malformed_box", image, f"{where}: bndbox {bounds} is not four numbers", "the box was dropped")
            continue
        if not name:
            told = f"a class name of more than {MAX_CLASS_NAME} letters" if _text(item, "name") else "no class name"
            log.add("unknown_class", image, f"{where} has {told}", "the box was dropped")
            continue
        difficult = _text(item, "difficult") == "1"
        if difficult:
            log.add("difficult_object", image, f"{where} is marked difficult", "it counts neither as found nor as missed")
        boxes.append(RawBox((x1, y1, x2, y2), labels[name], where, crowd=difficult))
    return boxes


def _report_unmatched(places: dict[str, list[str]], images: list[RawImage], splits: dict[str, str], log: HealthLog) -> None:
    used = {image.file for image in images}
    stems = {PurePosixPath(file).stem for file in used}
    for _, candidates in sorted(places.items()):
        for file in candidates:
            if file not in used:
                log.add("image_without_labels", file, "there is no annotation for it", "the image was left out")
    for stem in sorted(set(splits) - stems):
        if stem not in places:
            log.add("missing_image", stem, f"the list of {splits[stem]} names it, but there is no such image", "it was passed over")


def _size(tree: ElementTree.Element) -> tuple[int, int] | None:
    try:
        return int(_text(tree, "size/width")), int(_text(tree, "size/height"))
    except ValueError:
        return None


def _class_name(item: ElementTree.Element) -> str:
    """Return the name of an object's class; nothing where it is too long for one."""
    name = _text(item, "name")
    return name if len(name) <= MAX_CLASS_NAME else ""


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
