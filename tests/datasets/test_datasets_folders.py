"""Folders of images: pictures as they are seen, classes as people count, and a word on what is not read."""

from __future__ import annotations

import io
import struct
import unicodedata
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from biorep import datasets
from biorep.config import digest
from biorep.datasets import own
from biorep.datasets.classes import sort_naturally
from biorep.errors import DataError
from biorep.schema import label_names
from biorep.tables import DATASETS

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def _save(path, pixels=PIXELS, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def _key(path):
    dataset = DATASETS.parse({"name": str(path)})
    return digest({**dataset.identity(), "content": dataset.content()})


def _message(path):
    with pytest.raises(DataError) as caught:
        own.read_path(path)
    return str(caught.value)


#: What a viewer does with stored pixels of each orientation of EXIF.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photographs_are_turned_as_their_camera_was(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    _save(tmp_path / "a" / f"1.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    image = own.read_path(tmp_path)["image"].values[0]
    np.testing.assert_array_equal(image, UPRIGHT[orientation](PIXELS) / np.float32(255))


def test_a_jpeg_is_turned_as_its_camera_was(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    flat = np.repeat(np.repeat(PIXELS[:2, :2], 8, 0), 8, 1)
    _save(tmp_path / "a" / "1.jpg", flat, exif=exif, quality=100, subsampling=0)
    image = own.read_path(tmp_path)["image"].values[0]
    assert np.abs(image - np.rot90(flat, -1) / 255).max() < 0.02


@pytest.mark.parametrize("kind", ["bomb", "cut", "header"])
def test_what_pillow_cannot_read_is_named(tmp_path, monkeypatch, kind):
    path = _save(tmp_path / "a" / "1.png")
    data = path.read_bytes()
    if kind == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    else:
        path.write_bytes(data[:60] if kind == "cut" else data[:20] + bytes(9) + data[29:])
    assert _message(tmp_path).startswith(f"cannot read the image {path}: ")


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), value=st.integers(0, 255), suffix=st.sampled_from(["png", "gif", "bmp", "tif"]))
def test_a_damaged_picture_is_read_or_named(tmp_path, place, value, suffix):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, {"tif": "TIFF"}.get(suffix, suffix))
    data = bytearray(buffer.getvalue())
    data[place % len(data)] = value
    path = tmp_path / suffix / "a" / f"1.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    try:
        assert own.read_path(tmp_path / suffix).sizes["presentation"] == 1
    except DataError as error:
        assert str(path) in str(error)


def test_several_images_in_a_file_and_more_than_8_bits_are_refused(tmp_path):
    frames = [Image.fromarray(PIXELS[..., index]) for index in range(3)]
    path = _save(tmp_path / "film" / "a" / "1.gif", PIXELS[..., 0], save_all=True, append_images=frames[1:])
    assert _message(tmp_path / "film") == f"{path} holds 3 images, and one is read of each file; save them one by one"
    deep = io.BytesIO()
    header = b"\x00\x00\x00\x01\x00\x00\x00\x01\x10\x02\x00\x00\x00"  # a pixel of three times 16 bits
    deep.write(b"\x89PNG\r\n\x1a\n")
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + b"\x12\x34" * 3)), (b"IEND", b"")):
        deep.write(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))
    (tmp_path / "deep" / "a").mkdir(parents=True)
    (tmp_path / "deep" / "a" / "1.png").write_bytes(deep.getvalue())
    assert "has more than 8 bits per channel" in _message(tmp_path / "deep")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_named_where_there_is_any(tmp_path, mode):
    pixels = np.full((4, 5, len(mode)), 255, np.uint8)
    _save(tmp_path / "a" / "1.png", pixels)
    assert own.read_path(tmp_path)["image"].values.min() == 1
    pixels[1, 1] = 7
    path = _save(tmp_path / "a" / "2.png", pixels)
    with pytest.warns(UserWarning, match=f"the transparency of 1 images is not used.* example of {path}"):
        own.read_path(tmp_path)


# --------------------------------------------------------------------------------------------------------- folders


def test_classes_are_numbered_as_people_count(tmp_path):
    for index, name in enumerate(["10", "2", "1", "cat", "Ape"]):
        _save(tmp_path / name / "1.png", PIXELS + np.uint8(index))
    assert label_names(own.read_path(tmp_path)) == ["1", "2", "10", "Ape", "cat"]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.text("01290a_-Bé", max_size=5), max_size=6), st.randoms())
def test_the_order_of_classes_is_one_for_every_order_in_which_they_are_found(names, random):
    mixed = random.sample(names, len(names))
    assert sort_naturally(mixed) == sort_naturally(names)
    numbers = [name for name in sort_naturally(names) if name.isascii() and name.isdigit()]
    assert [int(name) for name in numbers] == sorted(int(name) for name in numbers)


def test_umlauts_of_all_systems_are_the_same(tmp_path):
    for part, form in (("train", "NFC"), ("test", "NFD")):
        _save(tmp_path / part / unicodedata.normalize(form, "Bär") / "1.png", PIXELS + np.uint8(form == "NFD"))
    assert label_names(own.read_path(tmp_path)) == ["Bär"]


@pytest.mark.parametrize(
    "words", [("Train", "Val", "Test"), ("training", "valid", "testing"), ("train", "validation", "test")]
)
def test_splits_under_other_words(tmp_path, words):
    for index, word in enumerate(words):
        _save(tmp_path / word / "cat" / "1.png", PIXELS + np.uint8(index))
        _save(tmp_path / word / "ape" / "1.png", PIXELS + np.uint8(index + 10))
    data = own.read_path(tmp_path)
    assert sorted(data["split"].values.tolist()) == sorted(["train", "validation", "test"] * 2)
    for index, split in enumerate(("train", "validation", "test")):
        image = datasets.load(tmp_path, split)["image"].values[1]
        np.testing.assert_array_equal(image, (PIXELS + np.uint8(index)) / np.float32(255))
    _save(tmp_path / "VALIDATION" / "cat" / "1.png")
    assert "holds both" in _message(tmp_path)


def test_what_is_not_read_is_named_and_hidden_files_are_nobodys_business(tmp_path):
    _save(tmp_path / "a" / "1.png")
    before = _key(tmp_path)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "a" / "._1.png").write_bytes(b"of another system")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    own.read_path(tmp_path)
    assert _key(tmp_path) == before
    _save(tmp_path / "loose.png")
    _save(tmp_path / "a" / "more" / "2.png")
    _save(tmp_path / "a" / "3.ppm")
    (tmp_path / "empty").mkdir()
    with pytest.warns(UserWarning, match=r"not used: a/3.ppm, a/more, empty, loose.png\. "):
        own.read_path(tmp_path)


def test_links_are_entered_and_names_do_not_count(tmp_path):
    for index, name in enumerate(["cat", "dog"]):
        for number in range(3):
            _save(tmp_path / "set" / name / f"{number}.png", PIXELS + np.uint8(10 * index + number))
    (tmp_path / "linked").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "set" / name)
    (tmp_path / "whole").symlink_to(tmp_path / "set")
    keys, data = _key(tmp_path / "set"), own.read_path(tmp_path / "set")
    for name in ("linked", "whole"):
        assert _key(tmp_path / name) == keys and own.read_path(tmp_path / name).identical(data)
    (tmp_path / "set" / "dog" / "2.png").rename(tmp_path / "set" / "dog" / "0a.png")
    (tmp_path / "set").rename(tmp_path / "moved")
    assert _key(tmp_path / "moved") == keys and own.read_path(tmp_path / "moved").identical(data)
    _save(tmp_path / "moved" / "dog" / "0.png", 255 - PIXELS)
    assert _key(tmp_path / "moved") != keys


@pytest.mark.parametrize("shape", [(3, 6), (6, 3), (3, 3), (1, 4), (4, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_leave_no_doubt_about_their_channels(tmp_path, shape, channels):
    pixels = PIXELS[: shape[0], : shape[1]] if channels == 3 else PIXELS[: shape[0], : shape[1], 0]
    _save(tmp_path / "a" / "1.png", np.ascontiguousarray(pixels))
    image = own.read_path(tmp_path)["image"]
    assert image.dims[1:] == ("row", "column", "channel")[: pixels.ndim]
    np.testing.assert_array_equal(image.values[0], pixels / np.float32(255))
