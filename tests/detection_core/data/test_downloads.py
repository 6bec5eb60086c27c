"""Data sets of the catalogue: fetched from a server of the test, resumed, checked, read; never asked of the network here."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from detection_core.catalogue.datasets import DATASETS
from detection_core.catalogue.specs import Download
from detection_core.data import downloads as downloads_module
from detection_core.data.downloads import Fetching, fetch, load_downloaded
from detection_core.data.health import HealthLog
from detection_core.schemas.base import InvalidInput
from tests.data_at_hand import data_folder
from tests.detection_core.data.makers import box, voc_object, write_coco, write_image, write_voc

FILE = bytes(range(256)) * 2000
ANNOTATION = """# Compatible with PASCAL Annotation Version 1.00
Image filename : "PennFudanPed/PNGImages/FudanPed00001.png"
Image size (X x Y x C) : 64 x 48 x 3
Database : "The Penn-Fudan-Pedestrian Database"
Objects with ground truth : 2 { "PASpersonWalking" "PASpersonWalking" }
# Top left pixel co-ordinates : (1, 1)
# Details for pedestrian 1 ("PASpersonWalking")
Original label for object 1 "PASpersonWalking" : "PennFudanPed"
Bounding box for object 1 "PASpersonWalking" (Xmin, Ymin) - (Xmax, Ymax) : (16, 18) - (30, 43)
Pixel mask for object 1 "PASpersonWalking" : "PennFudanPed/PedMasks/FudanPed00001_mask.png"

# Details for pedestrian 2 ("PASpersonWalking")
Bounding box for object 2 "PASpersonWalking" (Xmin, Ymin) - (Xmax, Ymax) : (42, 17) - (53, 48)
"""


class Served:
    """A server of files that can cut an answer short, ignore ranges or refuse; `asked` holds the Range of each request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: list[int] = []  # how many bytes each of the next answers gives at most
        self.ranges = True
        self.status = 200
        self.asked: list[str | None] = []
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.headers.get("Range"))
        content = self.files.get(handler.path.rpartition("/")[2])
        if content is None or self.status != 200:
            handler.send_error(self.status if content is not None else 404)
            return
        start = int(re.match(r"bytes=(\d+)-", handler.headers["Range"])[1]) if self.ranges and handler.headers.get("Range") else 0
        if start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start:][: self.cut.pop(0) if self.cut else None])


@pytest.fixture
def served():
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            served.answer(self)

        def log_message(self, *_):
            """Keep the output of the tests clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fetching(tmp_path):
    return Fetching(tmp_path / "kept", tmp_path / "inputs")


def file_of(served, *, name="data.zip", content=FILE, **known):
    served.files[name] = content
    known = known or {"sha256": hashlib.sha256(content).hexdigest()}
    return Download(f"{served.url}/{name}", len(content), **known)


def test_a_file_is_fetched_once_and_checked(served, fetching):
    download = file_of(served)
    told = []
    path = fetch(download, replace(fetching, tell=lambda fraction, message: told.append((fraction, message))), HealthLog())
    assert path.read_bytes() == FILE
    assert fetch(download, fetching, HealthLog()) == path
    assert len(served.asked) == 1
    assert any("downloading data.zip" in message for _, message in told)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_other_bytes_than_those_published_are_refused_and_not_kept(served, fetching, algorithm):
    download = file_of(served, **{algorithm: hashlib.new(algorithm, b"other").hexdigest()})
    with pytest.raises(InvalidInput, match=rf"'data\.zip' of http.* has the {algorithm} .*--inputs"):
        fetch(download, fetching, HealthLog())
    assert not (fetching.folder / "data.zip").exists()


def test_a_cut_download_goes_on_where_it_ended(served, fetching):
    download = file_of(served)
    served.cut = [100_000, 200_000]
    assert fetch(download, fetching, HealthLog()).read_bytes() == FILE
    assert served.asked == [None, "bytes=100000-", "bytes=300000-"]


def test_what_an_earlier_attempt_left_is_taken_up(served, fetching):
    download = file_of(served)
    fetching.folder.mkdir()
    (fetching.folder / "data.zip.part").write_bytes(FILE[:400_000])
    assert fetch(download, fetching, HealthLog()).read_bytes() == FILE
    assert served.asked == ["bytes=400000-"]


def test_a_server_without_ranges_gives_the_file_from_its_beginning(served, fetching):
    download = file_of(served)
    served.ranges, served.cut = False, [100_000]
    assert fetch(download, fetching, HealthLog()).read_bytes() == FILE


def test_a_left_part_that_is_longer_than_the_file_is_thrown_away(served, fetching):
    download = replace(file_of(served), size=None)
    fetching.folder.mkdir()
    (fetching.folder / "data.zip.part").write_bytes(FILE + b"more")
    assert fetch(download, fetching, HealthLog()).read_bytes() == FILE


def test_a_page_in_place_of_the_file_is_seen_by_its_size(served, fetching):
    download = replace(file_of(served, content=b"<html>please log in</html>"), size=1000)
    with pytest.raises(InvalidInput, match="offers 26 bytes instead of 1,000"):
        fetch(download, fetching, HealthLog())


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_server_that_refuses_is_named_with_what_to_do(served, fetching, status):
    download = file_of(served)
    served.status = status
    with pytest.raises(InvalidInput) as caught:
        fetch(download, fetching, HealthLog())
    sentence = str(caught.value)
    assert download.url in sentence and f"answered {status}" in sentence
    assert "put it as 'data.zip' into the folder given by --inputs, or upload" in sentence


def test_without_a_network_one_sentence_names_the_address_and_what_to_do(fetching):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    download = Download(f"http://127.0.0.1:{port}/val2017.zip", 100)
    with pytest.raises(InvalidInput) as caught:
        fetch(download, fetching, HealthLog())
    assert f"could not be downloaded from {download.url} (" in str(caught.value)
    assert "--inputs" in str(caught.value) and "upload the data set" in str(caught.value)


def test_a_file_given_among_the_inputs_needs_no_network(served, fetching):
    download = replace(file_of(served), url="http://nowhere.invalid/data.zip")
    fetching.inputs.mkdir()
    (fetching.inputs / "data.zip").write_bytes(FILE)
    assert fetch(download, fetching, HealthLog()) == fetching.inputs / "data.zip"
    (fetching.inputs / "data.zip").write_bytes(FILE[:-1])
    with pytest.raises(InvalidInput, match=r"has 511,999 bytes where 512,000 is right"):
        fetch(download, fetching, HealthLog())
    assert (fetching.inputs / "data.zip").exists()


def test_where_no_checksum_is_published_the_first_one_is_recorded_shown_and_asked_of_the_next(served, fetching):
    download = replace(file_of(served), sha256=None)
    log = HealthLog()
    path = fetch(download, fetching, log)
    assert log.report().counts == {"checksum_not_published": 1}
    assert hashlib.sha256(FILE).hexdigest() in log.report().issues[0].action
    path.unlink()
    served.files["data.zip"] = FILE[::-1]
    with pytest.raises(InvalidInput, match="damaged or another file"):
        fetch(download, fetching, HealthLog())


def test_a_stop_keeps_what_has_arrived(served, fetching, monkeypatch):
    monkeypatch.setattr(downloads_module, "CHUNK", 100_000)
    monkeypatch.setattr(downloads_module, "TELL_EVERY_S", 0.0)
    download = file_of(served)

    def stop(fraction, message):
        if fraction > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(download, replace(fetching, tell=stop), HealthLog())
    assert (fetching.folder / "data.zip.part").stat().st_size >= 100_000
    assert fetch(download, fetching, HealthLog()).read_bytes() == FILE


@contextmanager
def catalogue_entry(served, name, archives):
    """The entry `name` with its addresses turned to the test's server and its files replaced by `archives`."""
    entry = DATASETS[name]
    assert [download.name for download in entry.downloads] == list(archives)
    downloads = tuple(file_of(served, name=file, content=path.read_bytes()) for file, path in archives.items())
    yield replace(entry, downloads=downloads)


def zipped(path, folder):
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                packed.write(file, file.relative_to(folder).as_posix())
    return path


def test_coco_comes_out_of_its_three_archives(served, fetching, tmp_path):
    for seed, split in enumerate(("train", "val")):
        write_coco(tmp_path / "raw", [box(0, [1, 1, 9, 9])], split=f"{split}2017", first_seed=10 * seed)
        (tmp_path / "raw" / "annotations" / f"person_keypoints_{split}2017.json").write_text("{}")
        (tmp_path / split).mkdir()
        (tmp_path / "raw" / f"{split}2017").rename(tmp_path / split / f"{split}2017")
    names = {
        "annotations_trainval2017.zip": zipped(tmp_path / "a.zip", tmp_path / "raw"),
        "val2017.zip": zipped(tmp_path / "v.zip", tmp_path / "val"),
        "train2017.zip": zipped(tmp_path / "t.zip", tmp_path / "train"),
    }
    rows = json.loads((tmp_path / "raw" / "annotations" / "instances_val2017.json").read_text())["images"]
    with catalogue_entry(served, "coco-2017", names) as entry:
        # The file names of COCO differ between its splits; those of the makers do not, and lie in the folder of their split.
        assert rows[0]["file_name"] == "000.jpg"
        dataset = load_downloaded(entry, tmp_path / "unpacked", {"keep_splits": True}, fetching)
    assert {split: len(dataset.split(split)) for split in ("train", "val", "test")} == {"train": 3, "val": 3, "test": 0}
    assert (dataset.name, dataset.form, dataset.licence) == ("coco-2017", "coco", entry.licence)
    assert dataset.report.counts == {}


def test_voc_keeps_what_its_lists_name(served, fetching, tmp_path):
    root = tmp_path / "raw" / "VOCdevkit" / "VOC2012"
    write_voc(root, {key: voc_object("cat", 1, 2, 11, 12) for key in ("2008_1", "2008_2", "2011_3")})
    write_image(root / "SegmentationClass" / "2008_1.png", seed=77)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("2008_1\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("2008_2\n")
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("2008_2  1\n")
    with tarfile.open(tmp_path / "voc.tar", "w") as tar:
        tar.add(tmp_path / "raw", ".")
    with catalogue_entry(served, "voc-2012", {"VOCtrainval_11-May-2012.tar": tmp_path / "voc.tar"}) as entry:
        dataset = load_downloaded(entry, tmp_path / "unpacked", {"keep_splits": True}, fetching)
    assert [(record.file.rpartition("/")[2], record.split) for record in dataset.records] == [
        ("2008_1.jpg", "train"),
        ("2008_2.jpg", "val"),
    ]
    assert dataset.report.counts == {"unlisted_image": 1}


def test_penn_fudan_boxes_count_from_one_and_include_the_last_pixel(served, fetching, tmp_path):
    root = tmp_path / "raw" / "PennFudanPed"
    for number in range(1, 5):
        write_image(root / "PNGImages" / f"FudanPed0000{number}.png", seed=number)
        write_image(root / "PedMasks" / f"FudanPed0000{number}_mask.png", seed=50 + number)
        (root / "Annotation").mkdir(exist_ok=True)
        (root / "Annotation" / f"FudanPed0000{number}.txt").write_text(ANNOTATION.replace("Ped00001", f"Ped0000{number}"))
    (root / "readme.txt").write_text(ANNOTATION)
    with catalogue_entry(served, "penn-fudan", {"PennFudanPed.zip": zipped(tmp_path / "p.zip", tmp_path / "raw")}) as entry:
        dataset = load_downloaded(entry, tmp_path / "unpacked", {}, fetching)
    assert (dataset.classes, len(dataset.records)) == (("person",), 4)
    assert dataset.records[0].boxes.tolist() == [[15, 17, 30, 43], [41, 16, 53, 48]]
    assert dataset.report.counts == {"split_made": 1}


def test_bccd_is_read_out_of_the_archive_of_its_repository(served, fetching, tmp_path):
    with tarfile.open(data_folder("bccd") / "bccd.tar") as tar:
        tar.extractall(tmp_path / "raw" / "BCCD_Dataset-commit", filter="data")
    write_image(tmp_path / "raw" / "BCCD_Dataset-commit" / "example.jpg")
    archive = zipped(tmp_path / "b.zip", tmp_path / "raw")
    with catalogue_entry(served, "bccd", {DATASETS["bccd"].downloads[0].name: archive}) as entry:
        dataset = load_downloaded(entry, tmp_path / "unpacked", {}, fetching)
    assert dataset.classes == DATASETS["bccd"].classes
    assert [len(dataset.split(split)) for split in ("train", "val", "test")] == [205, 87, 72]
    assert dataset.report.counts == {"zero_size_box": 2}


def test_every_entry_says_what_it_is_whence_and_how_its_bytes_are_checked():
    entries = [entry for entry in DATASETS.values() if entry.downloads]
    assert {entry.name for entry in entries} == {"coco-2017", "coco-2017-val", "voc-2007", "voc-2012", "bccd", "penn-fudan"}
    for entry in entries:
        assert entry.licence and entry.source and entry.needs and entry.keep and entry.reader
        for download in entry.downloads:
            assert download.url.startswith("http")
            assert re.fullmatch("[0-9a-f]{64}", download.sha256 or "0" * 64) and re.fullmatch("[0-9a-f]{32}", download.md5 or "0" * 32)
    unpublished = {entry.name for entry in entries for download in entry.downloads if not (download.sha256 or download.md5)}
    assert unpublished == {"bccd", "penn-fudan"}
    assert len(DATASETS["coco-2017"].classes) == 80 and len(DATASETS["voc-2007"].classes) == 20


def test_an_option_that_it_does_not_know_is_named(fetching, tmp_path):
    with pytest.raises(InvalidInput, match="has no option 'form'"):
        load_downloaded(DATASETS["bccd"], tmp_path, {"form": "voc"}, fetching)
