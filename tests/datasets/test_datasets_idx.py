"""The IDX format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import hashlib
import struct

import numpy as np
import pytest

from biorep import datasets
from biorep.datasets import files, registry
from biorep.datasets.idx import MNIST, parse_idx
from biorep.errors import DataError


def _idx(values, kind=8):
    values = np.asarray(values, np.uint8)
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape)
    return header + values.tobytes()


@pytest.fixture
def fake_mnist(tmp_path, monkeypatch):
    """Thirty training and ten test images under the names of MNIST; returns the arrays and the folder."""
    generator = np.random.default_rng(1)
    content = {
        "train-images-idx3-ubyte": generator.integers(0, 256, (30, 28, 28), np.uint8),
        "train-labels-idx1-ubyte": np.arange(30, dtype=np.uint8) % 10,
        "t10k-images-idx3-ubyte": generator.integers(0, 256, (10, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte": np.arange(10, dtype=np.uint8)[::-1],
    }
    members = tuple(
        registry.DataFile(
            name,
            {
                "": hashlib.sha256(_idx(values)).hexdigest(),
                ".gz": hashlib.sha256(gzip.compress(_idx(values), mtime=0)).hexdigest(),
            },
        )
        for name, values in content.items()
    )
    entry = registry.Entry("mnist", "t", "l", "c", "mnist", members, (), None, None, {})
    monkeypatch.setattr(registry, "entries", lambda: {"mnist": entry})
    return content, tmp_path


def _write(content, folder, form):
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in content.items():
        data = gzip.compress(_idx(values), mtime=0) if form == ".gz" else _idx(values)
        (folder / (name + form)).write_bytes(data)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (0, 28, 28), (3, 300)])
def test_arrays_come_back_in_shape_and_order(shape):
    values = (np.arange(np.prod(shape)) % 256).astype(np.uint8).reshape(shape)
    parsed = parse_idx(_idx(values), "x")
    assert parsed.shape == shape
    assert parsed.dtype == np.uint8
    np.testing.assert_array_equal(parsed, values)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\x00\x08", b"\x1f\x8b\x08\x00" + b"\0" * 20, b"\x01\x00\x08\x01\x00\x00\x00\x01a", b"<html></html>"],
    ids=["empty", "short", "still gzipped", "bad magic", "html"],
)
def test_bad_magic(data):
    with pytest.raises(DataError) as caught:
        parse_idx(data, "labels")
    assert str(caught.value) == f"labels: not an IDX file of unsigned bytes (it starts with {data[:4].hex()})"


@pytest.mark.parametrize("kind", [0x09, 0x0B, 0x0C, 0x0D, 0x0E])
def test_other_types_than_unsigned_bytes(kind):
    with pytest.raises(DataError, match="not an IDX file of unsigned bytes"):
        parse_idx(_idx([1, 2], kind), "x")


def test_text_is_no_idx_file():
    with pytest.raises(DataError, match=r"^x: an IDX file is read as bytes, Path\(file\)\.read_bytes\(\), got str$"):
        parse_idx("text", "x")


def test_a_header_that_is_cut_off():
    with pytest.raises(DataError, match="not an IDX file"):
        parse_idx(_idx(np.zeros((2, 3, 4)))[:15], "x")


@pytest.mark.parametrize("change", [-1, -24, 1])
def test_a_length_that_does_not_fit_the_header(change):
    data = _idx(np.zeros((2, 3, 4)))
    data = data[:change] if change < 0 else data + b"\0" * change
    with pytest.raises(DataError) as caught:
        parse_idx(data, "images")
    assert str(caught.value) == f"images: the header promises (2, 3, 4) values, the file holds {24 + change}"


def test_a_header_that_promises_more_than_any_file():
    with pytest.raises(DataError):
        parse_idx(b"\0\0\x08\x04" + struct.pack(">4I", *[65536] * 4), "x")


@pytest.mark.parametrize("form", ["", ".gz"])
def test_parts_are_read_from_plain_and_compressed_files(fake_mnist, form):
    content, folder = fake_mnist
    _write(content, folder / "mnist", form)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = MNIST().arrays(part, folder)
        np.testing.assert_array_equal(images, content[f"{prefix}-images-idx3-ubyte"])
        np.testing.assert_array_equal(labels, content[f"{prefix}-labels-idx1-ubyte"])


def test_plain_and_compressed_files_give_the_same_dataset(fake_mnist):
    content, folder = fake_mnist
    for name, form in (("plain", ""), ("packed", ".gz")):
        _write(content, folder / name / "mnist", form)
    for split in ("train", "validation", "train+validation", "test"):
        plain = datasets.load("mnist", split, folder / "plain")
        assert plain.identical(datasets.load("mnist", split, folder / "packed"))


def test_values_labels_and_splits(fake_mnist):
    content, folder = fake_mnist
    _write(content, folder, "")  # directly in the folder that was named
    test = datasets.load("mnist", "test", folder)
    np.testing.assert_array_equal(test["image"], content["t10k-images-idx3-ubyte"] / np.float32(255))
    np.testing.assert_array_equal(test["label"], content["t10k-labels-idx1-ubyte"])
    assert test["stimulus_id"].values[3] == "mnist-test-00003"
    parts = [datasets.load("mnist", split, folder) for split in ("train", "validation")]
    assert [part.sizes["presentation"] for part in parts] == [27, 3]
    for part in parts:
        index = [int(name.rsplit("-", 1)[1]) for name in part["stimulus_id"].values]
        np.testing.assert_array_equal(part["label"], content["train-labels-idx1-ubyte"][index])


def test_a_truncated_compressed_file_is_refused(fake_mnist):
    content, folder = fake_mnist
    _write(content, folder, ".gz")
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz is damaged or is another file"):
        datasets.load("mnist", "test", folder)


def test_a_truncated_plain_file_is_refused(fake_mnist):
    content, folder = fake_mnist
    _write(content, folder, "")
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte is damaged or is another file: 17 bytes"):
        datasets.load("mnist", "test", folder)


def _skip_unless_at_hand(name):
    entry = registry.entries()[name]
    if not all(files.find(entry, file) for file in entry.files):
        pytest.skip(f"{name} is not at hand")


def test_real_mnist():
    _skip_unless_at_hand("mnist")
    test = datasets.load("mnist", "test")
    assert test["image"].shape == (10_000, 28, 28)
    np.testing.assert_array_equal(test["label"][:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(test["label"]), counts)
    train = datasets.load("mnist", "train+validation")
    assert train.sizes["presentation"] == 60_000
    values = train["image"].values
    assert float(values.mean(dtype=np.float64)) == pytest.approx(0.1307, abs=5e-5)
    assert float(values.std(dtype=np.float64)) == pytest.approx(0.3081, abs=5e-5)
    assert int((train["split"] == "validation").sum()) == 5000


def test_real_fashion_mnist():
    _skip_unless_at_hand("fashion-mnist")
    test = datasets.load("fashion-mnist", "test")
    np.testing.assert_array_equal(np.bincount(test["label"]), [1000] * 10)
    assert test["object_name"].values[0] == "Ankle boot"
    assert float(test["image"].mean(dtype=np.float64)) == pytest.approx(0.2868, abs=5e-4)
