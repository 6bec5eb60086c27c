"""Broken data sets, a kind a row: each is imported as a job and ends in a report, or in a refusal, that names the file and the remedy.

None crashes and none is imported by half: a job that ends in a refusal leaves no data set. Each runs in a process of its own that may take
a minute and a gigabyte, so that one that hangs or fills the memory is told by name.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from detection_core.data.canonical import content_hash, write_canonical
from detection_core.data.load import load_dataset
from detection_core.operations.run import BAD_INPUT, DONE, THREAD_VARIABLES, run_spec
from detection_core.schemas.results import ImportResult
from tests.detection_core.data.makers import box, load, voc_object, write_coco, write_image, write_voc, write_yolo

GOOD = box(0, [1, 1, 9, 9])
ROW = "0 0.5 0.5 0.2 0.2\n"
COCO = "annotations/instances_train.json"
MOST_SECONDS = 60
MOST_MEMORY = 1 << 30
# Bytes that are no UTF-8, as Python has them in the names of files.
NO_UTF8 = os.fsdecode(b"b\xff")


@dataclass(frozen=True)
class Broken:
    """`make` leaves something at the path it gets and returns the place to import (the path itself by default).

    `file` and `words` are what the report's line says (where, what, what was done), or parts of the sentence if it is `refused`.
    """

    name: str
    make: Callable[[Path], Path | None]
    file: str
    words: tuple[str, ...]
    refused: bool


def reported(name: str, make: Callable[[Path], Path | None], file: str, *words: str) -> Broken:
    return Broken(name, make, file, words, False)


def refused(name: str, make: Callable[[Path], Path | None], file: str, *words: str) -> Broken:
    return Broken(name, make, file, words, True)


# Makers: COCO


def coco(*rows, **more):
    return lambda root: write_coco(root, [GOOD, *rows], **more)


def coco_text(text: bytes):
    def make(root: Path) -> None:
        write_coco(root, [GOOD])
        (root / COCO).write_bytes(text)

    return make


def coco_content(change: Callable[[dict], object]):
    def make(root: Path) -> None:
        write_coco(root, [GOOD])
        path = root / COCO
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return make


def coco_image(content: Callable[[bytes], bytes]):
    def make(root: Path) -> None:
        write_coco(root, [GOOD])
        path = root / "train" / "001.jpg"
        path.write_bytes(content(path.read_bytes()))

    return make


def two_lists_of_categories(root: Path) -> None:
    write_coco(root, [], categories=((1, "cat"),))
    write_coco(root, [], split="val", categories=((1, "dog"),), first_seed=50)


def a_second_file_of_boxes(root: Path) -> None:
    write_coco(root, [GOOD])
    shutil.copy(root / COCO, root / "annotations" / "more.json")


def one_picture_in_two_splits(root: Path) -> None:
    write_coco(root, [])
    write_coco(root, [], split="val", first_seed=10)
    shutil.copy(root / "val" / "001.jpg", root / "train" / "000.jpg")


def one_picture_twice(root: Path) -> None:
    write_coco(root, [])
    shutil.copy(root / "train" / "001.jpg", root / "train" / "002.jpg")


def giant_png(width: int, height: int):
    """A few bytes that claim many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return lambda _: b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def deep_grey(_: bytes) -> bytes:
    """16 bits of grey, as thermal cameras write them."""
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21).save(buffer, format="PNG")
    return buffer.getvalue()


def gif(_: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, format="GIF")
    return buffer.getvalue()


# Makers: YOLO and VOC


def yolo(rows: str, **more):
    return lambda root: write_yolo(root, {"train/a": ROW + rows, "train/b": ROW}, **more)


def yolo_without(kind: str):
    def make(root: Path) -> None:
        write_yolo(root, {"train/a": ROW, "train/b": ROW})
        next(root.rglob(f"b.{kind}")).unlink()

    return make


def only_a_class_below_zero(root: Path) -> None:
    write_yolo(root, {"train/a": "-1 0.5 0.5 0.2 0.2\n"}, yaml=None)


def a_file_name_that_is_no_utf8(root: Path) -> None:
    write_yolo(root, {"train/a": ROW, "train/b": ROW})
    folder = root / "images" / "train"
    (folder / "b.png").rename(folder / f"{NO_UTF8}.png")


def binary_labels(root: Path) -> None:
    write_yolo(root, {"train/a": ROW, "train/b": ROW})
    (root / "labels" / "train" / "b.txt").write_bytes(bytes(range(256)))


def voc(text: str, *, more: Callable[[Path], object] = lambda root: None):
    def make(root: Path) -> None:
        write_voc(root, {"a": voc_object("crop", 1, 2, 11, 12), "b": text})
        more(root)

    return make


def voc_file(name: str, content: str):
    return voc("", more=lambda root: (root / name).write_text(content))


def voc_without_names(root: Path) -> None:
    write_voc(root, {"a": ""})


def voc_list_of_nothing(root: Path) -> None:
    write_voc(root, {"a": voc_object("crop", 1, 2, 11, 12)})
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nlost\n")


# Makers: archives


def archive(name: str, write: Callable[[Path], object]):
    def make(root: Path) -> Path:
        root.mkdir()
        write(root / name)
        return root / name

    return make


def zip_of(name: str | zipfile.ZipInfo, content: bytes, *, method: int = zipfile.ZIP_STORED):
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as packed:
            packed.writestr("a.txt", ROW)
            packed.writestr(name, content)

    return write


def tar_of(*entries: tuple[str, bytes]):
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            for name, content in entries:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

    return write


def cut(write: Callable[[Path], object], share: float):
    def make(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return make


def encrypted(path: Path) -> None:
    zip_of("b.txt", b"x")(path)
    content = bytearray(path.read_bytes())
    for marker, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(marker) + offset] |= 1
    path.write_bytes(bytes(content))


def flipped(path: Path) -> None:
    zip_of("b.bin", bytes(range(256)) * 8)(path)
    content = bytearray(path.read_bytes())
    content[800] ^= 0xFF
    path.write_bytes(bytes(content))


def flipped_bzip2(path: Path) -> None:
    """Damage of this method is told by an OSError."""
    zip_of("b.bin", bytes(range(256)) * 800, method=zipfile.ZIP_BZIP2)(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"b.bin") + 100] ^= 0xFF
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    zipfile.ZipFile(path, "w").close()


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("shortcut")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def gzipped(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())


def canonical(change: Callable[[dict], object] = lambda index: None, *, without: str = "", rehash: bool = False):
    """A data set in canonical form whose index `change` alters, with or without a hash that fits, or a file of which is gone."""

    def make(root: Path) -> Path:
        write_coco(root / "raw", [GOOD])
        write_canonical(load(root / "raw"), root / "d.tar")
        with tarfile.open(root / "d.tar") as tar:
            tar.extractall(root / "canonical", filter="data")
        index = json.loads((root / "canonical" / "dataset.json").read_text())
        change(index)
        if rehash:
            index["content_hash"] = content_hash(index["classes"], map(as_record, index["images"]))
        (root / "canonical" / "dataset.json").write_text(json.dumps(index))
        if without:
            (root / "canonical" / without).unlink()
        return root / "canonical"

    return make


def as_record(image: dict) -> SimpleNamespace:
    return SimpleNamespace(**image | {name: np.array(image[name]) for name in ("boxes", "labels", "iscrowd", "area")})


def first_image(index: dict) -> dict:
    return index["images"][0]


def only_images(root: Path) -> None:
    write_image(root / "a.jpg")


def two_forms(root: Path) -> None:
    write_coco(root, [GOOD])
    write_yolo(root, {"train/a": ROW})


def nothing_usable(root: Path) -> None:
    write_yolo(root, {"train/a": ROW})
    (root / "images" / "train" / "a.png").write_bytes(b"")


KINDS = (
    # COCO: images
    reported(
        "an image that is listed and not there",
        coco(listed=[{"id": 0, "file_name": "000.jpg"}, {"id": 9, "file_name": "gone.jpg"}]),
        "gone.jpg",
        "there is no such file",
        "the image was left out",
    ),
    reported(
        "an image whose name leaves the folder",
        coco(listed=[{"id": 0, "file_name": "000.jpg"}, {"id": 9, "file_name": "../../etc/passwd"}]),
        "../../etc/passwd",
        "there is no such file",
        "left out",
    ),
    reported(
        "an image that is cut short",
        coco_image(lambda content: content[:-700]),
        "train/001.jpg",
        "cannot be decoded",
        "the image was left out",
    ),
    reported("an image of no bytes", coco_image(lambda content: b""), "train/001.jpg", "cannot be decoded", "left out"),
    reported("a web page called .jpg", coco_image(lambda content: b"<html>404</html>"), "train/001.jpg", "cannot be decoded", "left out"),
    reported("a film called .jpg", coco_image(gif), "train/001.jpg", "cannot be decoded", "left out"),
    reported(
        "an image that claims to be enormous", coco_image(giant_png(100_000, 100_000)), "train/001.jpg", "cannot be decoded", "left out"
    ),
    reported(
        "an image of too many pixels",
        coco_image(giant_png(12_000, 9_000)),
        "train/001.jpg",
        "12000x9000 are more than 100 million pixels",
        "the image was left out",
    ),
    reported("an image of 16 bits of grey", coco_image(deep_grey), "train/001.jpg", "more than 8 bits of grey", "read as 8 bits"),
    reported(
        "an image whose name is half a character",
        coco(listed=[{"id": 0, "file_name": "000.jpg"}, {"id": 9, "file_name": "gone\ud800.jpg"}]),
        "gone\\ud800.jpg",
        "there is no such file",
        "left out",
    ),
    reported(
        "an image id that is used twice",
        coco(listed=[{"id": 0, "file_name": "000.jpg"}, {"id": 0, "file_name": "001.jpg"}]),
        COCO,
        "image id 0 is used again",
        "the second image was left out",
    ),
    reported(
        "an image without a name", coco(listed=[{"id": 0, "file_name": "000.jpg"}, {"id": 4}]), COCO, "has no id and file_name", "left out"
    ),
    reported(
        "an image of another size than declared",
        coco(listed=[{"id": 0, "file_name": "000.jpg", "width": 640, "height": 480}]),
        "train/000.jpg",
        "the annotation says 640x480, the file is 64x48",
        "the file's size is used",
    ),
    reported("the same picture in two splits", one_picture_in_two_splits, "train/000.jpg", "same bytes as val/001.jpg", "kept in val only"),
    reported("the same picture twice", one_picture_twice, "train/002.jpg", "same bytes as train/001.jpg", "only the first was kept"),
    # COCO: boxes
    reported("a box without width", coco(box(0, [5, 5, 0, 4])), "train/000.jpg", "has no area", "the box was dropped"),
    reported("a box of negative height", coco(box(0, [5, 5, 4, -4])), "train/000.jpg", "has no area", "dropped"),
    reported("a box beyond the border", coco(box(0, [60, 40, 10, 10])), "train/000.jpg", "reaches beyond the image of 64x48", "clipped"),
    reported("a box outside the image", coco(box(0, [100, 40, 10, 10])), "train/000.jpg", "lies wholly outside", "dropped"),
    reported("a box that is not a number", coco(box(0, [float("nan"), 1, 5, 5])), "train/000.jpg", "is not four numbers", "dropped"),
    reported("a box of three numbers", coco(box(0, [1, 1, 5])), "train/000.jpg", "is not four numbers", "dropped"),
    reported("a box of words", coco(box(0, ["a", "b", "c", "d"])), "train/000.jpg", "is not four numbers", "dropped"),
    reported("a box that stands twice", coco(dict(GOOD)), "train/000.jpg", "repeats", "the second was dropped"),
    reported(
        "a box of a class that is not listed",
        coco(box(0, [1, 1, 5, 5], category=99)),
        "train/000.jpg",
        "category 99 is not listed",
        "dropped",
    ),
    reported(
        "a class number written as a word",
        coco(box(0, [1, 1, 5, 5], category="3")),
        "train/000.jpg",
        "category '3' is not listed",
        "dropped",
    ),
    reported("a box of an image that is not listed", coco(box(55, [1, 1, 5, 5])), COCO, "image 55, which is not listed", "dropped"),
    reported("a box of no image", coco({"bbox": [1, 1, 5, 5], "category_id": 3}), COCO, "has no image_id", "dropped"),
    # COCO: files
    reported("two classes of one name", coco(categories=((3, "cat"), (7, "cat"))), COCO, "is called 'cat' like another", "it became 'cat"),
    reported(
        "a class without a name",
        coco_content(lambda content: content["categories"].append({"id": 5})),
        COCO,
        "has no whole-number id and name",
        "left out",
    ),
    reported(
        "a second file of boxes beside instances",
        a_second_file_of_boxes,
        "annotations/more.json",
        "looks like box annotations",
        "call it instances_",
    ),
    refused(
        "a class whose name holds a NUL",
        coco(categories=((3, "cat"), (7, "d\x00g"))),
        COCO,
        "'d\\x00g', which holds characters that cannot be stored",
        "give it another name",
    ),
    refused(
        "a class whose name is half a character",
        coco(categories=((3, "cat"), (7, "d\udc00g"))),
        COCO,
        "'d\\udc00g', which holds characters that cannot be stored",
        "give it another name",
    ),
    refused("a class with an endless name", coco(categories=((3, "cat" * 100),)), COCO, "with 300 letters", "use at most 100"),
    refused("JSON that ends in the middle", coco_text(b'{"images": ['), COCO, "is not JSON", "put one of them beside the images"),
    refused("JSON of a strange encoding", coco_text(b'{"images": ["\xff\xfe\xfd"]}'), COCO, "is not JSON", "beside the images"),
    refused("JSON nested without an end", coco_text(b"[" * 100_000), COCO, "is not JSON", "beside the images"),
    refused(
        "annotations without classes",
        coco_content(lambda content: content.pop("categories")),
        COCO,
        "has no list 'categories'",
        "put one of them beside the images",
    ),
    refused(
        "annotations with an empty list of classes",
        coco_content(lambda content: content["categories"].clear()),
        COCO,
        "names no category",
        "add the list 'categories'",
    ),
    refused(
        "annotations that are outlines only",
        coco_content(lambda content: content["annotations"][0].pop("bbox")),
        COCO,
        "none of its annotations has a bbox",
        "beside the images",
    ),
    refused(
        "two files that disagree about a class",
        two_lists_of_categories,
        "annotations/instances_val.json",
        "calls category 1 'dog'",
        "use one list of categories",
    ),
    # YOLO
    reported(
        "a row of four columns",
        yolo("0 0.5 0.5 0.1\n"),
        "images/train/a.png",
        "labels/train/a.txt row 2 has 4 columns, not 5",
        "the row was dropped",
    ),
    reported("a row of words", yolo("weed 0.5 0.5 0.1 0.1\n"), "images/train/a.png", "labels/train/a.txt row 2", "dropped"),
    reported("a row that is not a number", yolo("0 nan 0.5 0.1 0.1\n"), "images/train/a.png", "labels/train/a.txt row 2", "dropped"),
    reported(
        "a class beyond the names", yolo("2 0.5 0.5 0.2 0.2\n"), "images/train/a.png", "class 2 is not one of the 2 classes", "dropped"
    ),
    reported(
        "a class number of a million without names",
        yolo("1000000 0.5 0.5 0.2 0.2\n", yaml=None),
        "images/train/a.png",
        "labels/train/a.txt row 2: class 1000000 is no class number from 0 to 9,999",
        "the row was dropped",
    ),
    refused("no class but one below zero", only_a_class_below_zero, "labels/train/a.txt row 1", "has no class", "name the classes"),
    reported(
        "a file name that is no UTF-8",
        a_file_name_that_is_no_utf8,
        "images/train/b\\udcff.png",
        "its name is not UTF-8",
        "the file was left out; rename it",
    ),
    reported("boxes in pixels in place of shares", yolo("0 32 24 10 10\n"), "images/train/a.png", "lies wholly outside", "dropped"),
    reported(
        "an outline in place of a box",
        yolo("0 0.25 0.25 0.75 0.25 0.5 0.75\n"),
        "images/train/a.png",
        "an outline of 3 points",
        "the box around it was taken",
    ),
    reported("labels without an image", yolo_without("png"), "labels/train/b.txt", "no image for this label file", "left out"),
    reported("an image without labels", yolo_without("txt"), "images/train/b.png", "no label file for it", "kept as one without objects"),
    reported("labels that are no text", binary_labels, "images/train/b.png", "labels/train/b.txt row", "dropped"),
    reported("no names of the classes", yolo("", yaml=None), "data.yaml", "no file names the classes", "they were called class 0"),
    reported("names with a gap", yolo("", yaml="names:\n  0: a\n  2: b\n"), "data.yaml", "no list 'names' that counts from 0", "not used"),
    refused(
        "a class named twice",
        yolo("", yaml="names: [weed, weed]\n"),
        "data.yaml",
        "names a class twice ('weed')",
        "give every class its own name",
    ),
    # VOC
    reported(
        "XML that ends in the middle",
        voc_file("Annotations/b.xml", "<annotation><object>"),
        "Annotations/b.xml",
        "is not XML",
        "left out with its boxes",
    ),
    reported(
        "XML that declares entities",
        voc_file("Annotations/b.xml", '<!DOCTYPE x [<!ENTITY a "aa">]><annotation>&a;</annotation>'),
        "Annotations/b.xml",
        "declares a document type or entities",
        "left out",
    ),
    reported(
        "XML that declares entities in UTF-16",
        voc(
            "",
            more=lambda root: (root / "Annotations" / "b.xml").write_bytes(
                '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "aa">]><annotation>&a;</annotation>'.encode("utf-16")
            ),
        ),
        "Annotations/b.xml",
        "declares a document type or entities",
        "left out",
    ),
    reported(
        "XML of many megabytes",
        voc_file("Annotations/b.xml", f"<annotation>{' ' * (9 << 20)}</annotation>"),
        "Annotations/b.xml",
        "more than the 8,388,608",
        "left out",
    ),
    reported(
        "an object with an endless name",
        voc(voc_object("crop" * 100, 1, 2, 11, 12)),
        "JPEGImages/b.jpg",
        "a class name of more than 100 letters",
        "dropped",
    ),
    reported("an object without a box", voc("<object><name>crop</name></object>"), "JPEGImages/b.jpg", "is not four numbers", "dropped"),
    reported("an object without a name", voc(voc_object("", 1, 2, 11, 12)), "JPEGImages/b.jpg", "has no class name", "dropped"),
    reported("corners the wrong way round", voc(voc_object("crop", 11, 12, 1, 2)), "JPEGImages/b.jpg", "has no area", "dropped"),
    reported(
        "an annotation whose image is gone",
        voc("", more=lambda root: (root / "JPEGImages" / "b.jpg").unlink()),
        "b.jpg",
        "Annotations/b.xml describes it",
        "its boxes were left out",
    ),
    reported(
        "an image without an annotation",
        voc("", more=lambda root: (root / "Annotations" / "b.xml").unlink()),
        "JPEGImages/b.jpg",
        "no annotation for it",
        "left out",
    ),
    reported("a list that names what is not there", voc_list_of_nothing, "lost", "there is no such image", "passed over"),
    refused("annotations that name no object", voc_without_names, "Annotations/a.xml", "names an object", "add the objects"),
    # Archives
    refused(
        "a file that is no archive",
        archive("d.zip", lambda path: path.write_bytes(b"hello")),
        "d.zip",
        "neither a .zip nor a plain .tar",
        "pack the data set's folder",
    ),
    refused("a compressed tar", archive("d.tar.gz", gzipped), "d.tar.gz", "neither a .zip nor a plain .tar", "pack"),
    refused(
        "a zip that is cut short",
        archive("d.zip", cut(zip_of("b.bin", bytes(5000)), 0.6)),
        "d.zip",
        "is damaged",
        "it is cut short",
        "pack it again",
    ),
    refused(
        "a tar that is cut short",
        archive("d.tar", cut(tar_of(("a", bytes(5000)), ("b", bytes(9000))), 0.5)),
        "d.tar",
        "is damaged",
        "pack it again",
    ),
    refused("a flipped byte in a zip", archive("d.zip", flipped), "d.zip", "is damaged", "pack it again"),
    refused("a flipped byte in a zip of bzip2", archive("d.zip", flipped_bzip2), "d.zip", "is damaged", "pack it again"),
    refused(
        "an entry whose name is no UTF-8",
        archive("d.tar", tar_of((f"../{NO_UTF8}.jpg", b"x"))),
        "b\\udcff.jpg",
        "d.tar",
        "points outside",
        "relative names",
    ),
    refused(
        "an entry in the folder whose name is no UTF-8",
        archive("d.tar", tar_of((f"{NO_UTF8}.jpg", b"x"))),
        "b\\udcff.jpg",
        "d.tar",
        "bytes that are no UTF-8 in its name",
        "rename it",
    ),
    refused("a zip with a password", archive("d.zip", encrypted), "'a.txt'", "d.zip", "is encrypted", "pack without a password"),
    refused(
        "an entry that leaves the folder",
        archive("d.zip", zip_of("../evil.txt", b"x")),
        "'../evil.txt'",
        "d.zip",
        "points outside",
        "relative names",
    ),
    refused(
        "a link in an archive",
        archive("d.zip", zip_of(link(), b"/etc/passwd")),
        "'shortcut'",
        "is a link or a device",
        "pack the files themselves",
    ),
    refused(
        "a small zip of many zeros",
        archive("d.zip", zip_of("zeros.bin", bytes(100_000_000), method=zipfile.ZIP_DEFLATED)),
        "'zeros.bin'",
        "unpacks to far more",
        "pack the images as they are",
    ),
    refused(
        "two entries of one name",
        archive("d.tar", tar_of(("a.txt", b"1"), ("a.txt", b"2"))),
        "a.txt",
        "d.tar",
        "two entries of one name",
        "pack it again",
    ),
    refused("an empty archive", archive("d.zip", empty), "d.zip", "is empty", "pack the folder"),
    # Whole data sets
    refused("images without annotations", only_images, "'broken'", "holds no data set", "put one of them beside the images"),
    refused("two forms in one folder", two_forms, "'broken'", "more than one form (coco and yolo)", "keep one"),
    refused("no image that can be used", nothing_usable, "images/train/a.png", "no usable image", "cannot be decoded"),
    refused(
        "a canonical form that was altered",
        canonical(lambda index: index["images"][0]["boxes"][0].__setitem__(0, 2.5)),
        "dataset.json",
        "was altered",
        "import the original data again",
    ),
    reported(
        "a canonical form with another size",
        canonical(lambda index: first_image(index).update(width=640, height=480)),
        "images/train/000.jpg",
        "the annotation says 640x480, the file is 64x48",
        "the file's size is used",
    ),
    reported(
        "a canonical form with a box outside its image",
        canonical(lambda index: first_image(index).update(boxes=[[900, 1, 950, 9]]), rehash=True),
        "images/train/000.jpg",
        "lies wholly outside",
        "dropped",
    ),
    refused(
        "a canonical form that names a class twice",
        canonical(lambda index: index.update(classes=["cat", "cat"]), rehash=True),
        "dataset.json",
        "names a class twice",
        "import the original",
    ),
    refused(
        "a canonical form that lists a file twice",
        canonical(lambda index: index["images"].append(first_image(index) | {"split": "val"}), rehash=True),
        "dataset.json",
        "'train/000.jpg' twice",
        "import the original",
    ),
    refused(
        "a canonical form with too few labels",
        canonical(lambda index: index["images"][0]["labels"].clear()),
        "dataset.json",
        "does not have as many labels as boxes",
        "import the original",
    ),
    refused(
        "a canonical form without an image",
        canonical(without="images/train/000.jpg"),
        "train/000.jpg",
        "not under images/",
        "import the original",
    ),
)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PARETOBOX_CACHE", str(tmp_path / "cache"))


def run_limited(spec: Path, out: Path) -> int:
    """Run a spec in a process of its own and return its exit status; a signal (by negative number) where it went beyond its limits."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(MOST_SECONDS)
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_MEMORY, resource.RLIM_INFINITY))
            status = run_spec(spec, out)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("work", "status"), [("while True: pass", -signal.SIGALRM), ("bytearray(2 << 30)", 99)])
def test_a_job_beyond_its_limits_is_seen(monkeypatch, tmp_path, work, status):
    monkeypatch.setattr("tests.detection_core.data.test_broken_data_sets.MOST_SECONDS", 1)
    monkeypatch.setattr("tests.detection_core.data.test_broken_data_sets.run_spec", lambda spec, out: exec(work) or DONE)
    assert run_limited(tmp_path, tmp_path) == status


def test_there_are_forty_kinds_and_more():
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 40


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "-"))
def test_a_broken_data_set_is_reported_or_refused_with_file_and_remedy(kind, tmp_path):
    place = kind.make(tmp_path / "broken") or tmp_path / "broken"
    out = tmp_path / "out"
    out.mkdir()
    spec = {"kind": "import", "source": {"ref": str(place), "name": place.name}, "name": "broken", "options": {"keep_splits": True}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    status = run_limited(tmp_path / "spec.json", out)
    left = sorted(path.name for path in out.iterdir())
    if kind.refused:
        assert (status, left) == (BAD_INPUT, ["events.jsonl", "failure.json"])
        sentence = json.loads((out / "failure.json").read_text())["message"]
        assert "\n" not in sentence and sentence.count("archive '") <= 1
        assert [part for part in (kind.file, *kind.words) if part not in sentence] == [], sentence
        return
    assert (status, left) == (DONE, ["dataset.tar", "events.jsonl", "result.json"])
    result = ImportResult.parse((out / "result.json").read_bytes())
    lines = [f"{issue.problem}; {issue.action}" for issue in result.report.issues if issue.file == kind.file]
    assert any(all(part in line for part in kind.words) for line in lines), result.report
    assert str(tmp_path) not in result.report.model_dump_json()
    # What was imported is whole: every later job can read it.
    again = load_dataset(str(out / "dataset.tar"), cache_dir=tmp_path / "cache")
    assert again.content_hash == result.content_hash
    assert [again.read_image(record).shape[:2] for record in again.records] == [(record.height, record.width) for record in again.records]
