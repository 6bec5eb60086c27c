"""Images are served scaled, upright, in a form that browsers know, and kept up to a size."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from django.urls import reverse
from PIL import Image, ImageOps

from tests.page_factories import make_stored_dataset
from webapp.datasets import images
from webapp.datasets.images import ScaledImages, scaled

pytestmark = pytest.mark.django_db


def encoded(width: int, height: int, form: str = "JPEG", *, orientation: int = 1, mode: str = "RGB") -> bytes:
    """A picture whose left half is red and right half blue, before `orientation` turns it."""
    picture = Image.new(mode, (width, height), "blue" if mode == "RGB" else 40000)
    if mode == "RGB":
        picture.paste("red", (0, 0, width // 2, height))
    exif = Image.Exif()
    exif[0x0112] = orientation
    target = io.BytesIO()
    picture.save(target, form, **({"exif": exif} if orientation != 1 else {}))
    return target.getvalue()


def stored(**contents: bytes):
    files = {name.replace("_", "."): content for name, content in contents.items()}
    return make_stored_dataset(images=tuple((name, "train", 1) for name in files), contents=files)


def fetch(client, version, number: int = 1, **query):
    return client.get(reverse("dataset-image", args=[version.uuid, number]), query)


def picture(answer) -> Image.Image:
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.parametrize("width", images.WIDTHS)
def test_a_large_image_is_scaled_to_the_width_that_is_asked_for(client, width):
    answer = fetch(client, stored(a_jpg=encoded(2000, 1000)), width=width)
    assert answer["Content-Type"] == "image/jpeg"
    assert picture(answer).size == (width, width // 2)


def test_an_image_that_is_no_larger_comes_as_it_was_imported(client):
    content = encoded(300, 200)
    assert fetch(client, stored(a_jpg=content), width=320).content == content


@pytest.mark.parametrize("width", ["0", "321", "4000", "wide", "-320"])
def test_other_widths_are_refused(client, width):
    assert fetch(client, stored(a_jpg=encoded(400, 300)), width=width).status_code == 404


def test_a_tiff_is_shown_as_a_picture_that_browsers_know(client):
    version = stored(a_tif=encoded(400, 300, "TIFF"), b_tiff=encoded(100, 80, "TIFF"))
    whole = fetch(client, version)
    assert (whole["Content-Type"], picture(whole).format, picture(whole).size) == ("image/png", "PNG", (400, 300))
    scaled = fetch(client, version, width=320)
    assert (scaled["Content-Type"], picture(scaled).size) == ("image/jpeg", (320, 240))
    small = fetch(client, version, 2, width=320)
    assert (small["Content-Type"], picture(small).size) == ("image/jpeg", (100, 80))


def test_an_image_that_its_camera_turned_is_scaled_upright(client):
    answer = fetch(client, stored(a_jpg=encoded(2000, 1000, orientation=6)), width=320)
    found = picture(answer).convert("RGB")
    assert found.size == (320, 640)
    red, _, blue = found.getpixel((160, 20))
    assert red > 200 and blue < 60  # what was left is above after a quarter turn to the right


def test_each_width_has_its_own_tag_and_is_sent_once(client):
    version = stored(a_jpg=encoded(2000, 1000))
    small, large = fetch(client, version, width=320), fetch(client, version, width=640)
    assert small["ETag"] != large["ETag"] != fetch(client, version)["ETag"]
    assert "immutable" in small["Cache-Control"]
    address = reverse("dataset-image", args=[version.uuid, 1])
    assert client.get(address, {"width": 320}, headers={"If-None-Match": small["ETag"]}).status_code == 304
    assert client.get(address, {"width": 640}, headers={"If-None-Match": small["ETag"]}).status_code == 200


def test_a_scaled_image_is_made_once_and_found_on_disk_again(client, monkeypatch):
    version = stored(a_jpg=encoded(2000, 1000))
    first = fetch(client, version, width=320).content
    monkeypatch.setattr(images, "scaled", lambda *_, **__: pytest.fail("made a second time"))
    assert fetch(client, version, width=320).content == first


def test_bytes_that_are_no_picture_are_not_found(client):
    assert fetch(client, stored(a_jpg=b"no picture at all"), width=320).status_code in (200, 404)
    broken = encoded(2000, 1000, "PNG")[:2000]
    version = make_stored_dataset("broken", images=(("b.tif", "train", 0),), contents={"b.tif": broken})
    assert fetch(client, version, width=320).status_code == 404


def test_the_cache_removes_what_was_not_used_for_longest(tmp_path):
    cache = ScaledImages(tmp_path, most_bytes=1000)
    for number in range(30):
        cache.put(f"{number:02}-320", bytes(100))
    cache.prune()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) <= 1000
    assert cache.get("29-320") == bytes(100)
    assert cache.get("00-320") is None


def test_the_cache_never_holds_much_more_than_it_may(tmp_path):
    cache = ScaledImages(tmp_path, most_bytes=10_000)
    for number in range(400):
        cache.put(f"{number:03}-320", bytes(100))
        assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 10_700


def test_a_folder_that_cannot_be_written_is_no_failure(client, settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    settings.SCALED_IMAGES_DIR = tmp_path / "file" / "scaled"
    assert picture(fetch(client, stored(a_jpg=encoded(2000, 1000)), width=320)).size == (320, 160)


def test_pages_ask_for_scaled_images(client):
    version = stored(a_jpg=encoded(2000, 1000))
    page = client.get(reverse("dataset-detail", args=[version.dataset.uuid])).content.decode()
    assert f"/datasets/images/{version.uuid}/1/file?width=320 320w" in page
    assert client.get(reverse("dataset-picture", args=[version.uuid, 1])).content.decode().count("?width=1280 1280w") == 1


def deep(form: str, *, orientation: int = 1) -> bytes:
    """16 bits of grey: dark on the left, light on the right."""
    values = np.repeat(np.linspace(0, 65535, 1200)[None], 600, axis=0).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    target = io.BytesIO()
    Image.fromarray(values).save(target, form, **({"exif": exif} if orientation != 1 else {}))
    return target.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_deep_grey_values_are_scaled_to_what_the_detectors_get(form, orientation):
    shown = Image.open(
        io.BytesIO(scaled(deep(form, orientation=orientation), size=(320, 160)[:: -1 if orientation == 6 else 1], form="JPEG"))
    )
    ends = ((160 // 2, 4), (160 // 2, 315)) if orientation == 6 else ((4, 80), (315, 80))
    dark, light = (shown.convert("L").getpixel(end) for end in ends)
    assert shown.size == ((160, 320) if orientation == 6 else (320, 160)) and dark < 10 and light > 245


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_of_a_large_picture_give_what_the_whole_would(mode, orientation):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((1603, 1201), Image.Resampling.BILINEAR)
    exif = Image.Exif()
    exif[0x0112] = orientation
    target = io.BytesIO()
    coarse.convert(mode).save(target, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    whole = ImageOps.exif_transpose(Image.open(target)).convert("RGB")
    size = (320, round(320 * whole.height / whole.width))
    shown = Image.open(io.BytesIO(scaled(target.getvalue(), size=size, form="PNG")))
    expected = whole.resize(shown.size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    difference = np.abs(np.asarray(shown, dtype=int) - np.asarray(expected))
    assert max(shown.size[0] - size[0], shown.size[1] - size[1]) <= 0 and difference.mean() < (
        12 if mode == "1" else 3
    )  # two colours are dithered


def test_a_picture_of_too_many_pixels_is_not_decoded(client, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000_000)
    assert fetch(client, stored(a_png=encoded(1100, 1000, "PNG")), width=320).status_code == 404


def test_of_large_pictures_one_is_decoded_at_a_time(monkeypatch):
    monkeypatch.setattr(images, "LARGE_PIXELS", 1000)
    at_work, most = [], []

    def shrunk(picture, size):
        at_work.append(picture)
        most.append(len(at_work))
        time.sleep(0.05)
        at_work.pop()
        return picture.convert("RGB")

    monkeypatch.setattr(images, "_shrunk", shrunk)
    content = encoded(100, 80, "PNG")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: scaled(content, size=(32, 32), form="PNG"), range(4)))
    assert most == [1, 1, 1, 1]
