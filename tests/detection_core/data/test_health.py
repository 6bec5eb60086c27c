"""What is wrong with boxes and images is reported by file, whatever the form; here through COCO and YOLO files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import ExifTags, Image

from detection_core.data.health import MAX_ISSUES, HealthLog
from detection_core.schemas.base import InvalidInput
from tests.detection_core.data.makers import box, load, problems, voc_object, write_coco, write_image, write_voc, write_yolo


def test_a_zero_size_box_is_reported_and_dropped(tmp_path):
    write_coco(tmp_path / "d", [box(0, [5, 5, 0, 4]), box(0, [5, 5, 4, 4]), box(1, [5, 5, 4, -1])])
    dataset = load(tmp_path / "d")
    assert [len(record.boxes) for record in dataset.records] == [1, 0, 0]
    assert dataset.report.counts == {"zero_size_box": 2}
    assert "has no area" in problems(dataset, "train/000.jpg")[0]


def test_a_box_beyond_the_image_is_clipped_and_one_outside_it_dropped_and_both_are_reported(tmp_path):
    write_coco(tmp_path / "d", [box(0, [60, 40, 10, 10]), box(0, [100, 40, 10, 10])])
    dataset = load(tmp_path / "d")
    assert dataset.records[0].boxes.tolist() == [[60, 40, 64, 48]]
    assert dataset.report.counts == {"box_outside": 2}


def test_rounding_at_the_border_is_no_issue(tmp_path):
    write_yolo(tmp_path / "d", {"train/a": "0 0.95 0.5 0.100001 0.2\n"})
    dataset = load(tmp_path / "d")
    assert dataset.records[0].boxes[0, 2] == 64
    assert dataset.report.counts == {}


def test_a_repeated_annotation_is_dropped(tmp_path):
    write_coco(tmp_path / "d", [box(0, [5, 5, 4, 4]), box(0, [5, 5, 4, 4]), box(0, [5, 5, 4, 4], category=7)])
    dataset = load(tmp_path / "d")
    assert len(dataset.records[0].boxes) == 2
    assert dataset.report.counts == {"duplicate_annotation": 1}


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_an_image_that_cannot_be_decoded_is_reported_and_left_out(tmp_path, content):
    write_coco(tmp_path / "d", [box(0, [5, 5, 4, 4])])
    path = tmp_path / "d" / "train" / "001.jpg"
    path.write_bytes(path.read_bytes()[:-700] if content is None else content)
    dataset = load(tmp_path / "d")
    assert len(dataset.records) == 2
    assert dataset.report.counts == {"undecodable_image": 1}
    assert dataset.report.issues[0].file == "train/001.jpg"


def test_an_image_corrupted_after_reading_gives_a_sentence_with_its_name(tmp_path):
    write_coco(tmp_path / "d", [])
    dataset = load(tmp_path / "d")
    (tmp_path / "d" / "train" / "000.jpg").write_bytes(b"broken")
    with pytest.raises(InvalidInput, match=r"image 'train/000\.jpg' cannot be decoded"):
        dataset.read_image(dataset.records[0])


def test_the_same_picture_in_two_splits_stays_only_where_it_is_held_out(tmp_path):
    write_coco(tmp_path / "d", [], split="train")
    write_coco(tmp_path / "d", [], split="val", first_seed=10)
    shutil.copy(tmp_path / "d" / "val" / "001.jpg", tmp_path / "d" / "train" / "000.jpg")
    dataset = load(tmp_path / "d")
    assert dataset.report.counts == {"image_in_two_splits": 1}
    assert [record.file for record in dataset.records if record.sha256 == dataset.split("val")[1].sha256] == ["val/001.jpg"]


def test_the_same_picture_twice_in_a_split_is_kept_once(tmp_path):
    write_coco(tmp_path / "d", [])
    shutil.copy(tmp_path / "d" / "train" / "001.jpg", tmp_path / "d" / "train" / "000.jpg")
    dataset = load(tmp_path / "d")
    assert [record.file for record in dataset.records] == ["train/000.jpg", "train/002.jpg"]
    assert dataset.report.counts == {"duplicate_image": 1}


def test_a_wrong_size_in_the_annotation_is_reported_and_the_files_size_used(tmp_path):
    write_voc(tmp_path / "d", {"a": voc_object("crop", 1, 2, 11, 12)}, size=(0, 0))
    dataset = load(tmp_path / "d")
    assert (dataset.records[0].width, dataset.records[0].height) == (64, 48)
    assert dataset.report.counts == {"size_differs": 1}


@pytest.mark.parametrize("orientation", [6, 8])
def test_boxes_of_stored_pixels_turn_with_an_image_that_exif_turns(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[10:20, 30:60] = 255
    write_voc(tmp_path / "d", {"a": voc_object("crop", 30, 10, 60, 20)})
    Image.fromarray(pixels).save(tmp_path / "d" / "JPEGImages" / "a.jpg", exif=exif, quality=95)
    dataset = load(tmp_path / "d")
    (record,) = dataset.records
    image = dataset.read_image(record)
    assert image.shape == (64, 48, 3) == (record.height, record.width, 3)
    x1, y1, x2, y2 = record.boxes[0].astype(int)
    assert image[y1:y2, x1:x2].mean() > 240
    assert dataset.report.counts == {"size_differs": 1}


def test_a_data_set_without_a_usable_image_is_an_error_that_says_why(tmp_path):
    write_yolo(tmp_path / "d", {"train/a": "0 0.5 0.5 0.2 0.2\n"})
    (tmp_path / "d" / "images" / "train" / "a.png").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"no usable image: images/train/a\.png: the image cannot be decoded"):
        load(tmp_path / "d")


def test_two_forms_in_one_folder_are_refused_until_one_is_chosen(tmp_path):
    write_coco(tmp_path / "d", [box(0, [5, 5, 4, 4])])
    write_yolo(tmp_path / "d", {"train/a": "0 0.5 0.5 0.2 0.2\n"})
    with pytest.raises(InvalidInput, match="more than one form"):
        load(tmp_path / "d")
    assert load(tmp_path / "d", form="coco").form == "coco"


def test_a_folder_without_a_data_set_says_what_was_looked_for(tmp_path):
    write_image(tmp_path / "d" / "a.jpg")
    with pytest.raises(InvalidInput, match=r"looked for COCO .* YOLO .* Pascal VOC"):
        load(tmp_path / "d")


def test_a_name_that_is_nothing_lists_the_built_in_ones(tmp_path):
    with pytest.raises(InvalidInput, match="fields, neon-trees"):
        load(tmp_path / "nowhere")


def test_an_unknown_option_is_named(tmp_path):
    write_coco(tmp_path / "d", [])
    with pytest.raises(InvalidInput, match="option 'shuffle'"):
        load(tmp_path / "d", shuffle=True)


def test_the_report_holds_the_first_thousand_issues_and_counts_all():
    log = HealthLog()
    for number in range(MAX_ISSUES + 5):
        log.add("zero_size_box", f"{number}.jpg", "a box has no area", "dropped")
    report = log.report()
    assert len(report.issues) == MAX_ISSUES
    assert report.counts == {"zero_size_box": MAX_ISSUES + 5}


def grey_levels(path, kind: str) -> np.ndarray:
    """Write a ramp of deep grey values and return what reading it must give."""
    ramp = np.linspace(0, 1, 48 * 64).reshape(48, 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "16 bits":
        values = np.rint(ramp * 65535).astype(np.uint16)
        Image.fromarray(values).save(path)
        return values // 256
    values = (ramp * 70000 - 20000).astype(np.int32 if kind == "whole numbers" else np.float32)
    if kind == "floats":
        values[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(values).save(path)
    known = np.isfinite(values)
    low, high = float(values[known].min()), float(values[known].max())
    return np.where(known, np.rint((np.where(known, values, low).astype(float) - low) * 255 / (high - low)), 0)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "16 bits"), ("a.tif", "16 bits"), ("a.tif", "whole numbers"), ("a.tif", "floats")])
def test_deep_grey_values_are_read_as_8_bits_and_reported_by_file(tmp_path, name, kind):
    write_coco(tmp_path / "d", [], listed=[{"id": 0, "file_name": name}])
    expected = grey_levels(tmp_path / "d" / "train" / name, kind)
    dataset = load(tmp_path / "d")
    pixels = dataset.read_image(dataset.records[0])
    np.testing.assert_array_equal(pixels, np.repeat(expected[..., None], 3, axis=2))
    assert dataset.report.counts == {"converted_image": 1}
    assert "more than 8 bits of grey" in problems(dataset, f"train/{name}")[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_that_its_tag_turns_has_the_size_that_is_read_later(tmp_path, dtype):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    values = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    stored = (values >> 8).astype(np.uint8) if dtype is np.uint8 else values
    write_coco(tmp_path / "d", [], listed=[{"id": 0, "file_name": "a.tif"}])
    Image.fromarray(stored).save(tmp_path / "d" / "train" / "a.tif", exif=exif)
    dataset = load(tmp_path / "d")
    (record,) = dataset.records
    assert (record.width, record.height) == (48, 64)
    np.testing.assert_array_equal(dataset.read_image(record)[..., 0], np.rot90(values >> 8, -1))


def test_what_cannot_be_stored_is_escaped_in_the_report():
    log = HealthLog()
    log.add("missing_image", "a\ud800.jpg", "nul \x00", "left out")
    (issue,) = log.report().issues
    assert (issue.file, issue.problem) == ("a\\ud800.jpg", "nul \\x00")
