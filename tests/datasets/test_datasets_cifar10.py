"""CIFAR-10: pickles are parsed, never trusted."""

from __future__ import annotations

import builtins
import collections
import hashlib
import lzma
import os
import pickle

import numpy as np
import pytest

from biorep import datasets
from biorep.datasets import files, registry
from biorep.datasets.cifar10 import CLASSES, parse_batch
from biorep.errors import DataError


def _pixels(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3072)).astype(np.uint8)


def _batch(n=4, **changes):
    content = {b"data": _pixels(n), b"labels": [i % 10 for i in range(n)], b"batch_label": b"x", b"filenames": [b"a"]}
    return {**content, **{key.encode(): value for key, value in changes.items()}}


def _dump(batch):
    return pickle.dumps(batch, protocol=2)


class Call:
    """An object whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


# ------------------------------------------------------------------------------------------------------- parsing


def test_images_and_labels():
    images, labels = parse_batch(_dump(_batch(4)), "b")
    assert images.shape == (4, 32, 32, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(labels, [0, 1, 2, 3])
    row, column = 5, 17
    for channel in range(3):
        expected = _pixels(4)[:, 1024 * channel + 32 * row + column]
        np.testing.assert_array_equal(images[:, row, column, channel], expected)


def test_channels_are_red_green_blue_and_rows_come_first():
    planes = np.zeros((1, 3, 32, 32), np.uint8)
    planes[0, 0] = 200  # red everywhere
    planes[0, 1, 3, :] = 90  # green: row 3
    planes[0, 2, :, 7] = 40  # blue: column 7
    images, _ = parse_batch(_dump(_batch(1, data=planes.reshape(1, -1))), "b")
    assert np.all(images[0, :, :, 0] == 200)
    assert np.all(images[0, 3, :, 1] == 90)
    assert images[0, :, :, 1].sum() == 32 * 90
    assert np.all(images[0, :, 7, 2] == 40)
    assert images[0, :, :, 2].sum() == 32 * 40


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_protocols_up_to_4_are_understood(protocol):
    images, _ = parse_batch(pickle.dumps(_batch(2), protocol=protocol), "b")
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(2, -1), _pixels(2))


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_old_and_new_names_of_numpy_are_understood(module):
    data = _dump(_batch(2))
    start = data.index(b"multiarray\n_reconstruct")
    start = data.rindex(b"numpy", 0, start)
    data = data[:start] + module + data[data.index(b"\n", start) :]
    assert b"c" + module + b"\n_reconstruct" in data
    images, _ = parse_batch(data, "b")
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(2, -1), _pixels(2))


def test_pickles_of_python_2_are_understood():
    def inner(value):
        return pickle.dumps(value, protocol=2)[2:-1]  # without the protocol and the final stop

    array = inner(_pixels(3)).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    keys = [b"U\x04data", b"U\x06labels"]  # SHORT_BINSTRING, the str of python 2
    data = b"\x80\x02}(" + keys[0] + array + keys[1] + inner([5, 6, 7]) + b"u."
    images, labels = parse_batch(data, "b")
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(3, -1), _pixels(3))
    np.testing.assert_array_equal(labels, [5, 6, 7])


# -------------------------------------------------------------------------------------------- untrusted pickles


@pytest.mark.parametrize("place", ["data", "labels", "extra"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, place):
    target = tmp_path / "executed"
    attack = _dump(_batch(**{place: Call(os.mkdir, str(target))}))
    with pytest.raises(DataError, match=rf"asks for '{os.mkdir.__module__}\.mkdir', which a CIFAR-10 batch never does"):
        parse_batch(attack, "b")
    assert not target.exists()
    pickle.loads(attack)  # the attack is real: an ordinary unpickler runs it
    assert target.is_dir()


@pytest.mark.parametrize(
    "call",
    [
        Call(os.system, "exit 1"),
        Call(builtins.eval, "1"),
        Call(builtins.getattr, "a", "upper"),
        Call(np.load, "a"),
        Call(np.array, [1]),
        Call(collections.OrderedDict),
    ],
    ids=["os.system", "eval", "getattr", "numpy.load", "numpy.array", "OrderedDict"],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_only_arrays_are_made(call, protocol):
    with pytest.raises(DataError, match="which a CIFAR-10 batch never does; not loaded"):
        parse_batch(pickle.dumps(_batch(extra=call), protocol=protocol), "b")


def test_an_object_inside_an_array_is_refused(tmp_path):
    objects = np.array([Call(os.mkdir, str(tmp_path / "executed"))], dtype=object)
    with pytest.raises(DataError, match="which a CIFAR-10 batch never does"):
        parse_batch(_dump(_batch(data=objects)), "b")
    assert not (tmp_path / "executed").exists()


def test_the_refusal_names_the_file():
    with pytest.raises(DataError, match="data_batch_3"):
        parse_batch(_dump(_batch(data=Call(os.system, "exit 1"))), "data_batch_3")


# ------------------------------------------------------------------------------------------------- bad batches


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        _dump(_batch())[:-200],
        _dump([1, 2]),
        _dump({b"labels": [1]}),
        _dump({b"data": _pixels(1)}),
        _dump({"data": _pixels(1), "labels": [1]}),
        _dump(_batch(data=_pixels(4)[:, :-1])),
        _dump(_batch(labels=[1, 2, 3, -1])),
        _dump(_batch(labels=[1, 2, 3, 256])),
        _dump(_batch(labels=["a", "b", "c", "d"])),
    ],
    ids=[
        "empty",
        "text",
        "truncated",
        "list",
        "no data",
        "no labels",
        "text keys",
        "short rows",
        "negative label",
        "label too large",
        "labels are words",
    ],
)
def test_what_is_no_batch(data):
    with pytest.raises(DataError, match=r"^data_batch_1: not a CIFAR-10 python batch \(\w+: "):
        parse_batch(data, "data_batch_1")


def test_more_labels_than_images():
    with pytest.raises(DataError, match="^b: 4 images but 3 labels$"):
        parse_batch(_dump(_batch(labels=[1, 2, 3])), "b")


# --------------------------------------------------------------------------------------------------- the data set


@pytest.fixture
def fake_cifar(tmp_path, monkeypatch):
    """Two training batches and a test batch in a folder, plain and packed."""
    names = ["data_batch_1", "data_batch_2", "test_batch"]
    batches = {name: _dump(_batch(10, data=_pixels(10, seed))) for seed, name in enumerate(names)}
    members = []
    for name, data in batches.items():
        packed = lzma.compress(data)
        for form, content, folder in (("", data, "plain"), (".xz", packed, "packed")):
            path = tmp_path / folder / "cifar-10-batches-py" / (name + form)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        checksums = {"": hashlib.sha256(data).hexdigest(), ".xz": hashlib.sha256(packed).hexdigest()}
        members.append(registry.DataFile(name, checksums))
    entry = registry.Entry("cifar10", "t", "l", "c", "cifar-10-batches-py", tuple(members), (), None, None, {})
    monkeypatch.setattr(registry, "entries", lambda: {"cifar10": entry})
    return tmp_path


@pytest.mark.parametrize("folder", ["plain", "packed"])
def test_batches_are_joined_in_order(fake_cifar, folder):
    train = datasets.load("cifar10", "train+validation", fake_cifar / folder)
    expected = np.concatenate([_pixels(10, 0), _pixels(10, 1)]).reshape(20, 3, 32, 32).transpose(0, 2, 3, 1)
    assert train["image"].dims == ("presentation", "row", "column", "channel")
    np.testing.assert_array_equal(train["image"], expected / np.float32(255))
    test = datasets.load("cifar10", "test", fake_cifar / folder)
    np.testing.assert_array_equal(
        test["image"], _pixels(10, 2).reshape(10, 3, 32, 32).transpose(0, 2, 3, 1) / np.float32(255)
    )
    assert test["object_name"].values.tolist() == CLASSES


def test_real_cifar10():
    entry = registry.entries()["cifar10"]
    if not all(files.find(entry, file) for file in entry.files):
        pytest.skip("cifar10 is not at hand")
    test = datasets.load("cifar10", "test")
    assert test["image"].shape == (10_000, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(test["label"]), [1000] * 10)
    assert test["object_name"].values[:5].tolist() == ["cat", "ship", "ship", "airplane", "frog"]
    means = test["image"].values.mean((0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(means, [0.4942, 0.4851, 0.4504], atol=1e-4)
