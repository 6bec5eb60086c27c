"""The same or nearly the same picture in two splits is found, and little else."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from detection_core.data.leaks import MAX_DISTANCE, MAX_LEAKS, Signatures, count_same_bytes, find_leaks, near_pairs, same_bytes, signature
from detection_core.data.load import load_dataset
from tests.data_at_hand import data_folder
from tests.detection_core.data.makers import load, write_coco


def picture(seed: int, *, width: int = 320, height: int = 240) -> Image.Image:
    """Something like a photograph: soft shapes, light from one side, a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(coarse, dtype=np.int16) + rng.integers(-12, 12, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def saved(image: Image.Image, *, quality: int = 92, form: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, quality=quality)
    return buffer.getvalue()


def copies() -> dict[str, bytes]:
    image = picture(7)
    width, height = image.size
    return {
        "saved again": saved(image, quality=60),
        "as png": saved(image, form="PNG"),
        "half the size": saved(image.resize((width // 2, height // 2))),
        "brighter": saved(ImageEnhance.Brightness(image).enhance(1.2)),
        "more contrast": saved(ImageEnhance.Contrast(image).enhance(1.3)),
        "cropped by 2 %": saved(image.crop((3, 2, width - 3, height - 2))),
        "the next frame": saved(image.crop((6, 4, width, height))),
    }


@pytest.fixture
def pair(tmp_path):
    """A data set whose train image 000 and val image 000 hold the given bytes."""

    def make(first: bytes, second: bytes):
        write_coco(tmp_path / "d", [], images=2)
        write_coco(tmp_path / "d", [], images=2, split="val", first_seed=50)
        (tmp_path / "d" / "train" / "000.jpg").write_bytes(first)
        (tmp_path / "d" / "val" / "000.jpg").write_bytes(second)
        return load(tmp_path / "d")

    return make


@pytest.mark.parametrize("kind", copies())
def test_an_altered_copy_in_another_split_is_found(pair, kind):
    report = find_leaks(pair(saved(picture(7)), copies()[kind]))
    assert (report.checked, report.exact, report.near) == (4, 0, 1)
    (leak,) = report.leaks
    assert (leak.first, leak.first_split, leak.second, leak.second_split) == ("train/000.jpg", "train", "val/000.jpg", "val")
    assert not leak.exact and leak.distance <= MAX_DISTANCE


def test_different_pictures_are_no_leak(pair):
    assert find_leaks(pair(saved(picture(7)), saved(picture(8)))).leaks == ()


def test_altered_copies_within_one_split_are_no_leak(pair):
    dataset = pair(saved(picture(7)), saved(picture(7), quality=60))
    assert find_leaks(replace(dataset, records=tuple(replace(record, split="train") for record in dataset.records))).near == 0


def test_the_same_bytes_in_two_splits_are_exact_and_counted_once(pair):
    dataset = pair(saved(picture(7)), saved(picture(8)))
    doubled = replace(dataset, records=(*dataset.records, replace(dataset.records[0], split="test")))
    report = find_leaks(doubled)
    assert (report.exact, report.near) == (1, 0)
    assert report.leaks[0].exact and {report.leaks[0].first_split, report.leaks[0].second_split} == {"train", "test"}


def test_the_same_light_and_shade_of_different_things_is_no_leak(pair):
    light = np.linspace(90, 200, 240)[:, None, None] + 20 * np.linspace(0, 1, 320)[None, :, None] * np.ones((1, 1, 3))

    def sky(seed: int, *, quality: int = 92) -> bytes:
        rng = np.random.default_rng(seed)
        pixels = light + rng.normal(0, 4, light.shape)
        for _ in range(3):
            x, y = rng.integers(0, 300), rng.integers(0, 220)
            pixels[y : y + 12, x : x + 12] -= 60
        return saved(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), quality=quality)

    dataset = pair(sky(1), sky(2))
    hashes = [signature(dataset.root / f"{split}/000.jpg")[0] for split in ("train", "val")]
    assert (hashes[0] ^ hashes[1]).bit_count() <= MAX_DISTANCE  # the hash alone would call them the same
    assert find_leaks(dataset).near == 0
    assert find_leaks(pair(sky(1), sky(1, quality=60))).near == 1


def test_an_image_that_exif_turns_is_compared_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(7).rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    picture(7).save(tmp_path / "plain.jpg", quality=95)
    turned, plain = signature(tmp_path / "turned.jpg"), signature(tmp_path / "plain.jpg")
    assert (turned[0] ^ plain[0]).bit_count() <= 4
    assert np.abs(turned[1].astype(int) - plain[1]).mean() < 3


def test_pairs_equal_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (6, 256), dtype=np.uint8)
    thumbnails = np.concatenate([base, base, rng.integers(0, 255, (30, 256), dtype=np.uint8)])
    hashes = rng.integers(0, 2**63, 42, dtype=np.uint64)
    hashes[6:12] = hashes[:6] ^ np.uint64(0b1011)
    splits = rng.integers(0, 3, 42).astype(np.int8)
    found = {
        (min(pair), max(pair))
        for first, second, distance in near_pairs(Signatures(np.arange(42), hashes, thumbnails), splits)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    }
    wanted = {(number, number + 6) for number in range(6) if splits[number] != splits[number + 6]}
    assert found == wanted and wanted


def test_pictures_that_are_all_alike_are_counted_and_the_first_pairs_kept(tmp_path, monkeypatch):
    from detection_core.data import leaks

    write_coco(tmp_path / "d", [], images=1)
    dataset = load(tmp_path / "d")
    splits = ("train",) * 300 + ("val",) * 100
    dataset = replace(dataset, records=tuple(replace(dataset.records[0], sha256=f"{n:064x}", split=s) for n, s in enumerate(splits)))
    one = np.zeros((400, 256), dtype=np.uint8)
    monkeypatch.setattr(leaks, "signatures_of", lambda *_, **__: Signatures(np.arange(400), np.zeros(400, dtype=np.uint64), one))
    report = find_leaks(dataset)
    assert (report.near, len(report.leaks)) == (300 * 100, MAX_LEAKS)


@pytest.mark.parametrize(("name", "pairs"), [("bccd/bccd.tar", 1), ("sesame-weeds/sesame-weeds.tar", 16), ("coco-mini", 0)])
def test_real_photographs_give_the_leaks_that_the_eye_sees_and_no_others(tmp_path, name, pairs):
    """The pairs were looked at: each shows one place, the second time moved a little. Among 90,000 other pairs there is no alarm."""
    folder = data_folder(name.split("/")[0])
    dataset = load_dataset(str(folder.parent / name), cache_dir=tmp_path)
    report = find_leaks(dataset)
    assert (report.exact, report.near) == (0, pairs)
    if name.startswith("bccd"):
        assert [Path(file).stem for file in (report.leaks[0].first, report.leaks[0].second)] == ["BloodImage_00038", "BloodImage_00037"]


def test_thousands_of_equal_images_are_counted_without_looking_at_each_pair():
    records = tuple(SimpleNamespace(sha256="0" * 64, split=split) for split in ("train", "val", "test") for _ in range(40_000))
    started = list(islice(same_bytes(records), 3))
    assert count_same_bytes(records) == 3 * 40_000**2
    assert started == [(0, 40_000), (0, 40_001), (0, 40_002)]


def test_deep_grey_values_are_compared_as_they_are_read(tmp_path):
    grey = np.asarray(picture(5).convert("L"))
    Image.fromarray(grey).save(tmp_path / "plain.png")
    Image.fromarray(grey.astype(np.uint16) << 8).save(tmp_path / "deep.png")
    (plain, thumbnail), (deep, other) = signature(tmp_path / "plain.png"), signature(tmp_path / "deep.png")
    assert plain == deep
    np.testing.assert_array_equal(thumbnail, other)
