from __future__ import annotations

import io
import stat
import tarfile
import zipfile

import pytest

from detection_core.data.archives import Limits, unpack
from detection_core.schemas.base import InvalidInput

SMALL = Limits(max_bytes=100_000, max_files=5, ratio=20, free_bytes=10_000)


def make_zip(path, entries, *, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in entries:
            packed.writestr(name, content)
    return path


def make_tar(path, entries):
    with tarfile.open(path, "w") as tar:
        for name, content in entries:
            if isinstance(name, str):
                info = tarfile.TarInfo(name)
                info.size = len(content)
            else:
                info = name
            tar.addfile(info, io.BytesIO(content))
    return path


MAKERS = {"zip": make_zip, "tar": make_tar}


def refused(archive, tmp_path, **more):
    """Unpack, expect a refusal, check that nothing stays, and return the sentence."""
    place = tmp_path / "target"
    with pytest.raises(InvalidInput) as caught:
        unpack(archive, place / "folder", **more)
    assert list(place.iterdir()) == []
    assert archive.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", MAKERS)
def test_files_and_folders_come_out_as_they_went_in(tmp_path, kind):
    archive = MAKERS[kind](tmp_path / "upload", [("a/b.txt", b"one"), ("./c d.txt", b"two")])
    folder = unpack(archive, tmp_path / "out" / "folder")
    assert (folder / "a/b.txt").read_bytes() == b"one"
    assert (folder / "c d.txt").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["folder"]


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "a\\..\\..\\evil.txt", "C:/evil.txt"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, kind, name):
    archive = MAKERS[kind](tmp_path / "a.bin", [("good.txt", b"x"), (name, b"x")])
    sentence = refused(archive, tmp_path)
    assert "evil.txt" in sentence
    assert "pack with relative names" in sentence
    assert not list(tmp_path.rglob("evil.txt"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("entry")
    info.type, info.linkname = kind, "/etc/passwd"
    assert "link or a device" in refused(make_tar(tmp_path / "a.tar", [("good", b"x"), (info, b"")]), tmp_path)


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("entry")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    assert "link or a device" in refused(make_zip(tmp_path / "a.zip", [("good", b"x"), (info, "/etc/passwd")]), tmp_path)


def test_a_small_zip_that_unpacks_to_much_is_stopped(tmp_path):
    archive = make_zip(tmp_path / "bomb.zip", [("good", b"x"), ("zeros.bin", bytes(50_000_000))])
    assert archive.stat().st_size < 60_000
    sentence = refused(archive, tmp_path, limits=Limits(free_bytes=1_000_000))
    assert "zeros.bin" in sentence


def test_a_size_that_the_zip_lies_about_does_not_help_it(tmp_path):
    archive = make_zip(tmp_path / "liar.zip", [("zeros.bin", bytes(5_000_000))])
    content = bytearray(archive.read_bytes())
    for marker, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(marker) + offset
        content[at : at + 4] = (100).to_bytes(4, "little")
    archive.write_bytes(content)
    refused(archive, tmp_path, limits=SMALL)


def test_the_default_limits_stop_twenty_gigabytes_in_a_small_file():
    assert Limits().allowed_bytes(20 << 20) < 1 << 30
    assert Limits().allowed_bytes(2 << 30) <= 16 << 30


@pytest.mark.parametrize("kind", MAKERS)
def test_too_many_files_are_refused(tmp_path, kind):
    archive = MAKERS[kind](tmp_path / "many.bin", [(f"{number}.txt", b"") for number in range(6)])
    assert "more than 5 files" in refused(archive, tmp_path, limits=SMALL)


@pytest.mark.parametrize("kind", MAKERS)
def test_two_entries_of_one_name_are_refused(tmp_path, kind):
    with pytest.warns(UserWarning, match="Duplicate") if kind == "zip" else _nothing():
        archive = MAKERS[kind](tmp_path / "twice.bin", [("a.txt", b"1"), ("a.txt", b"2")])
    assert "two entries of one name (a.txt)" in refused(archive, tmp_path)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_cut_archive_is_refused(tmp_path, kind, keep):
    content = bytes(range(256)) * 40
    whole = MAKERS[kind](tmp_path / "whole.bin", [(f"{number}.bin", content) for number in range(3)]).read_bytes()
    size = len(whole) if kind == "zip" else 3 * (512 + 512 * 20)
    cut = tmp_path / "cut.bin"
    cut.write_bytes(whole[: int(size * keep)])
    refused(cut, tmp_path)


def test_a_tar_with_a_broken_header_is_not_read_as_far_as_it_goes(tmp_path):
    archive = make_tar(tmp_path / "a.tar", [("a", b"x" * 512), ("b", b"y" * 512)])
    content = bytearray(archive.read_bytes())
    content[1024 + 148] ^= 0xFF  # the checksum of the second header
    archive.write_bytes(content)
    assert "broken header" in refused(archive, tmp_path)


def test_a_flipped_byte_in_a_zip_is_found(tmp_path):
    archive = make_zip(tmp_path / "a.zip", [("a.bin", bytes(range(256)) * 8)], method=zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[500] ^= 0xFF
    archive.write_bytes(content)
    assert "damaged" in refused(archive, tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b" + bytes(600), bytes(2000)])
def test_a_file_that_is_no_archive_is_refused_with_what_would_do(tmp_path, content):
    path = tmp_path / "thing.bin"
    path.write_bytes(content)
    assert "neither a .zip nor a plain .tar" in refused(path, tmp_path)


@pytest.mark.parametrize("name", ["a\x00b\n.txt", "x" * 300, "/".join("d" * 40)])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    info = tarfile.TarInfo("placeholder")
    info.name = name.replace("\x00", "\x01")
    refused(make_tar(tmp_path / "a.tar", [(info, b"")]), tmp_path)


def test_an_archive_without_files_is_refused(tmp_path):
    assert "is empty" in refused(make_zip(tmp_path / "a.zip", []), tmp_path)


def test_what_was_unpacked_once_is_not_unpacked_again(tmp_path):
    archive = make_zip(tmp_path / "a.zip", [("a.txt", b"1")])
    folder = unpack(archive, tmp_path / "out" / "folder")
    archive.unlink()
    assert unpack(archive, folder) == folder


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *details):
        return None
