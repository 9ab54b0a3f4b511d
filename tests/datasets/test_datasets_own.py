"""Data of your own: arrays, files, folders, and what is said when they do not fit."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import biorep
from biorep import datasets
from biorep.atomic import sha256
from biorep.config import digest
from biorep.datasets import files, layout, own
from biorep.errors import ConfigError, DataError, NumericalError, SplitError
from biorep.schema import check_dataset, label_names, require_disjoint
from biorep.tables import DATASETS

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 5, 6), np.uint8)
LABELS = np.arange(40) % 3


def _message(error, function, *arguments, **options):
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    return str(caught.value)


def _all_splits(path):
    return xr.concat(
        [datasets.load(str(path), split) for split in ("train+validation", "test")],
        "presentation",
        combine_attrs="override",
    )


# --------------------------------------------------------------------------------------------------------- arrays


def test_unsigned_bytes_are_divided_by_255():
    data = datasets.from_arrays(IMAGES, LABELS)
    assert data["image"].dtype == np.float32
    np.testing.assert_array_equal(data["image"], IMAGES.astype(np.float32) / np.float32(255))
    assert data["image"].attrs["value_range"] == [0.0, 1.0]
    assert datasets.from_arrays(np.full((1, 2, 2), 255, np.uint8))["image"].values.max() == 1


def test_unsigned_bytes_with_a_stated_range_stay_as_they_are():
    data = datasets.from_arrays(IMAGES, value_range=(0, 255))
    np.testing.assert_array_equal(data["image"], IMAGES)
    assert data["image"].attrs["value_range"] == [0.0, 255.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_numbers_in_the_stated_range_are_kept(dtype):
    values = np.array([[-1, 0], [1, 0]], dtype)
    data = datasets.from_arrays(values, value_range=(-1, 1))
    assert data["image"].dtype == np.float32
    np.testing.assert_array_equal(data["image"], values)


@pytest.mark.parametrize(
    ("shape", "dims"), [((7,), ("pixel",)), ((2, 3), ("row", "column")), ((2, 3, 4), ("row", "column", "channel"))]
)
def test_dims_of_an_image(shape, dims):
    data = datasets.from_arrays(np.zeros((5, *shape)))
    assert data["image"].dims == ("presentation", *dims)
    assert data["image"].shape == (5, *shape)


def test_named_dims_are_read_by_their_names():
    images = np.random.default_rng(0).random((5, 4, 3))
    named = xr.DataArray(images, dims=("presentation", "row", "column"))
    plain = datasets.from_arrays(images)
    for order in (("row", "column", "presentation"), ("presentation", "column", "row")):
        assert datasets.from_arrays(named.transpose(*order)).identical(plain)
    others = named.rename(row="y", column="x").transpose("y", "presentation", "x")
    assert datasets.from_arrays(others).identical(plain)


def test_masked_values_are_refused():
    with pytest.raises(DataError, match="3 values of the images are masked: fill them first"):
        datasets.from_arrays(np.ma.masked_less(np.arange(8.0).reshape(2, 2, 2) / 8, 0.3))


@pytest.mark.parametrize("kind", ["random-features", "mlp"])
def test_images_of_another_shape_with_as_many_values_are_refused(kind):
    images = datasets.from_arrays(np.random.default_rng(0).random((12, 4, 4)), np.arange(12) % 2)
    network = biorep.network(kind, **({"units": 5} if kind == "random-features" else {"hidden": [5], "epochs": 1}))
    state = network.fit(images, seed=0)
    other = datasets.from_arrays(images["image"].values.reshape(12, 2, 8), np.arange(12) % 2)
    with pytest.raises(DataError, match=r"has learnt from images of the shape \(4, 4\), these are \(2, 8\)"):
        network.encode(state, other)


def test_labels_names_and_splits_are_attached():
    split = np.array(["train", "test"] * 20)
    data = datasets.from_arrays(IMAGES, LABELS, split=split, class_names=["a", "b", "c", "d"], name="mine")
    np.testing.assert_array_equal(data["label"], LABELS)
    np.testing.assert_array_equal(data["object_name"], np.array(["a", "b", "c"])[LABELS])
    np.testing.assert_array_equal(data["split"], split)
    assert label_names(data) == ["a", "b", "c", "d"]
    assert data.attrs["dataset"] == "mine"
    check_dataset(data)


def test_defaults():
    data = datasets.from_arrays(IMAGES)
    assert set(data["label"].values) == {0}
    assert set(data["split"].values) == {"train"}
    assert len(set(data["stimulus_id"].values)) == 40


def test_the_arrays_given_are_not_changed():
    images, labels = IMAGES.astype(np.float32) / 255, LABELS.copy()
    data = datasets.from_arrays(images, labels)
    data["image"][:] = 0
    data["label"][:] = 0
    np.testing.assert_array_equal(images, IMAGES.astype(np.float32) / 255)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("shape", [(), (5,), (0, 3, 3)])
def test_images_without_presentations(shape):
    message = _message(DataError, datasets.from_arrays, np.zeros(shape))
    assert message == f"images must be (presentation, ...) and not empty, got shape {shape}"


def test_images_of_too_many_dims():
    message = _message(DataError, datasets.from_arrays, np.zeros((2, 3, 3, 3, 3)))
    assert message.startswith("an image must have 1, 2 or 3 dims") and message.endswith("got 4")


@pytest.mark.parametrize("dtype", [bool, complex, str, object, "M8[s]", "m8[s]", [("r", "f4"), ("g", "f4")]])
def test_images_of_a_wrong_type(dtype):
    assert "images must be unsigned bytes or real numbers, got" in _message(
        DataError, datasets.from_arrays, np.zeros((2, 3, 3)).astype(dtype)
    )


@pytest.mark.parametrize("value", [1.001, -0.001])
def test_images_out_of_range(value):
    images = np.zeros((2, 3, 3))
    images[1, 2, 2] = value
    assert "outside their stated value_range [0, 1]" in _message(DataError, datasets.from_arrays, images)


@pytest.mark.parametrize("bounds", [(1, 0), (1, 1), (0, float("nan"))])
def test_a_range_that_is_none(bounds):
    message = _message(DataError, datasets.from_arrays, np.zeros((2, 3, 3)), value_range=bounds)
    assert message == f"value_range must be (smallest, largest), got {bounds}"


def test_images_may_reach_a_bound_that_float32_cannot_hold():
    data = datasets.from_arrays(np.full((2, 3, 3), 0.1), value_range=(0, 0.1))
    assert float(data["image"].max()) == pytest.approx(0.1)


def test_values_beyond_the_range_by_rounding_are_shown_as_they_are():
    images = np.full((2, 3, 3), 0.0003, np.float32)
    images[0] = np.nextafter(np.float32(1), np.float32(2))
    assert "images have values from 0.0003 to 1.0000001, outside" in _message(DataError, datasets.from_arrays, images)


def test_bytes_of_0_and_1_are_warned_of():
    with pytest.warns(UserWarning, match="bytes 0 and 1 alone, and bytes are divided by 255"):
        assert float(datasets.from_arrays(IMAGES % 2)["image"].max()) == pytest.approx(1 / 255)
    assert float(datasets.from_arrays(IMAGES % 2, value_range=(0, 1))["image"].max()) == 1


@pytest.mark.parametrize(
    "bounds",
    [(0, float("inf")), "01", (0, 1, 2), 1, ("0", "1"), (False, True), {0, 1}, [0, [1]], (0, 1e300), (0, None)],
)
def test_a_range_that_is_no_pair_of_numbers(bounds):
    assert "value_range" in _message(DataError, datasets.from_arrays, np.zeros((2, 3, 3)), value_range=bounds)


# ------------------------------------------------------------------------------------------------ the order of dims


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    order=st.permutations(range(4)),
    names=st.tuples(*(st.sampled_from([word, *others]) for word, others in list(layout.WORDS.items())[:4])),
    title=st.booleans(),
)
def test_any_order_of_named_dims_is_the_same_dataset(order, names, title):
    images = np.random.default_rng(0).random((3, 3, 3, 3))  # sizes say nothing
    expected = datasets.from_arrays(images, dims=["presentation", "row", "column", "channel"])
    dims = [names[axis].title() if title else names[axis] for axis in order]
    turned = images.transpose(order)
    assert datasets.from_arrays(turned, dims=dims).identical(expected)
    assert datasets.from_arrays(xr.DataArray(turned, dims=dims)).identical(expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)))
def test_channels_are_found_where_one_side_alone_can_be_theirs(shape):
    images = np.random.default_rng(0).random((2, *shape))
    first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
    if first == last:
        assert "first or last; say which dim is what" in _message(DataError, datasets.from_arrays, images)
        return
    found = datasets.from_arrays(images)["image"]
    assert found.dims == ("presentation", "row", "column", "channel")
    np.testing.assert_array_equal(found, (images.transpose(0, 2, 3, 1) if first else images).astype(np.float32))


def test_an_xarray_array_of_images_knows_its_range_split_and_names():
    split = np.array(["train", "test"] * 20)
    whole = datasets.from_arrays(
        IMAGES / 255 - 0.5, LABELS, split=split, value_range=(-1, 1), class_names=["c", "a", "b"], name="own"
    )
    assert datasets.from_arrays(whole["image"], whole["label"]).identical(whole)
    test = whole.isel(presentation=1)["image"].expand_dims("presentation")
    assert datasets.from_arrays(test.assign_coords(stimulus_id=("presentation", ["x"])))["split"].values == ["test"]
    assert set(datasets.from_arrays(whole["image"], split="validation")["split"].values) == {"validation"}


def test_dims_without_names_are_those_of_an_array():
    images = np.random.default_rng(0).random((5, 3, 6, 7))
    assert datasets.from_arrays(xr.DataArray(images)).identical(datasets.from_arrays(images))


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        (("presentation", "row", "depth"), "images have the dim 'depth', which is unknown"),
        (("presentation", "row", "colum"), "did you mean 'column'?"),
        (("n", "row", "y"), "as many different dims"),
        (("n", "row"), "as many different dims"),
        (("n", "row", "channel"), "images must be (presentation, row, column[, channel])"),
        (("row", "column", "channel"), "images must be (presentation, row, column[, channel])"),
    ],
)
def test_dims_that_make_no_image(dims, words):
    assert words in _message(DataError, datasets.from_arrays, np.zeros((5, 6, 7)), dims=dims)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.sampled_from([np.nan, np.inf, -np.inf]), st.tuples(*(st.integers(0, size - 1) for size in (4, 3, 5, 6))))
def test_a_value_that_is_missing_is_told_with_its_place_as_given(value, place):
    images = np.zeros((4, 3, 5, 6))
    images[place] = value
    assert _message(NumericalError, datasets.from_arrays, images).endswith(f"the first at index {place}")
    masked = np.ma.masked_invalid(images)
    for given_as in (masked, list(masked)):
        assert f"(one is at index {place})" in _message(DataError, datasets.from_arrays, given_as)


@pytest.mark.parametrize("labels", [LABELS[:-1], np.stack([LABELS, LABELS], 1), np.int64(3)])
def test_labels_of_a_wrong_shape(labels):
    message = _message(DataError, datasets.from_arrays, IMAGES, labels)
    assert message == f"labels must have shape (40,) like the images, got {np.shape(labels)}"


@pytest.mark.parametrize("labels", [LABELS - 1, LABELS.astype(float), LABELS > 1])
def test_labels_that_are_no_classes(labels):
    message = _message(DataError, datasets.from_arrays, IMAGES, labels)
    assert message.startswith(f"labels must be whole numbers from 0 up, got {labels.dtype} from {labels.min()}; ")
    assert ("np.unique(labels, return_inverse=True)" if labels.min() < 0 else "labels.astype(int)") in message


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        (np.array([0, np.nan, 1]), "1 labels are missing (NaN), the first at index 1"),
        (
            np.ma.masked_equal([0, 1, -9], -9),
            "1 values of the labels are masked: fill them first (one is at index (2,)",
        ),
        ([np.ma.masked, 0, 1], "are masked"),
        (np.array(["cat", None, "dog"], dtype=object), "got None at index 1"),
        (np.array(["cat", "", "dog"]), "at index 1"),
        (np.array([1, "cat", "dog"], dtype=object), "got 1 at index 0; give labels.astype(int)"),
        (np.eye(3), "give labels.argmax(axis=1)"),
        (np.arange(3)[None], "give labels.ravel()"),
        ([[1], [2, 3]], "labels cannot be read as an array"),
        (xr.DataArray(np.arange(3), dims="row"), "labels stand along the dim 'row'"),
        (np.array(["cat", "dgo", "dog"]), "labels hold 'dgo', which is none of the class_names; did you mean 'dog'?"),
    ],
)
def test_what_is_said_of_labels_that_are_no_classes(labels, place):
    names = ["cat", "dog"] if "dgo" in str(labels) else None
    assert place in _message(DataError, datasets.from_arrays, IMAGES[:3], labels, class_names=names)


@pytest.mark.parametrize("kind", ["<U3", "S3", object])
def test_labels_that_are_words_are_names_of_classes(kind):
    said = np.array(["dog", "10", "9", "cat", "dog"]).astype(kind)
    data = datasets.from_arrays(IMAGES[:5], said)
    assert label_names(data) == ["9", "10", "cat", "dog"]  # as people count
    assert data["object_name"].values.tolist() == ["dog", "10", "9", "cat", "dog"]
    data = datasets.from_arrays(IMAGES[:5], said[:, None], class_names=["emu", "dog", "cat", "9", "10"])
    assert data["label"].values.tolist() == [1, 4, 3, 2, 1]


def test_classes_without_images_are_named():
    with pytest.warns(UserWarning, match="^no image has the label 0, 2, though labels go up to 3"):
        datasets.from_arrays(IMAGES[:2], [1, 3])
    datasets.from_arrays(IMAGES[:2], [1, 3], class_names=list("abcd"))


@pytest.mark.parametrize(
    "names",
    [
        {0: "a", 1: "b", 2: "c"},
        {"2": "c", "0": "a", "1": "b"},
        {"c": 2, "a": 0, "b": 1},
        [b"a", b"b", b"c"],
        '["a", "b", "c"]',
    ],
)
def test_class_names_in_other_forms(names):
    assert label_names(datasets.from_arrays(IMAGES, LABELS, class_names={"2": 0, "0": 1, "1": 2})) == ["2", "0", "1"]
    assert label_names(datasets.from_arrays(IMAGES, LABELS, class_names=names)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"a", "b", "c"}, "a list in the order of the labels"),
        (["a", "b", "a"], "got 'a' more than once"),
        ({1: "a", 2: "b", 3: "c"}, "must name the classes from 0 on"),
        ({"a": 0, "b": 0, "c": 1}, "must name the classes from 0 on"),
        ({0.5: "a", 1.5: "b", 2.5: "c"}, "must name the classes from 0 on"),
        ({0: "a", "0": "b", 1: "c"}, "must name the classes from 0 on"),
        ("[a", "begin like a list in JSON"),
        (["a", None, "c"], "class_names must be words"),
        ([b"\xff", b"a", b"b"], "is no text in UTF-8"),
        ("abc", "only 1 class names"),
        (3, "a list in the order of the labels"),
    ],
)
def test_class_names_that_have_no_order(names, words):
    assert words in _message(DataError, datasets.from_arrays, IMAGES, LABELS, class_names=names)


def test_too_few_class_names():
    message = _message(DataError, datasets.from_arrays, IMAGES, LABELS, class_names=["a", "b"])
    assert message == "labels go up to 2, but there are only 2 class names"


def test_a_class_name_with_a_bar():
    data = datasets.from_arrays(IMAGES, LABELS, class_names=["a|b", 'c"', "[d]"])
    assert label_names(data) == ["a|b", 'c"', "[d]"]


def test_duplicate_and_missing_stimulus_ids():
    message = _message(DataError, datasets.from_arrays, IMAGES[:3], stimulus_id=["a", "b", "a"])
    assert message == "stimulus_id must hold 3 different names, got 3 with 2 different"
    message = _message(DataError, datasets.from_arrays, IMAGES[:3], stimulus_id=["a", "b"])
    assert message == "stimulus_id must hold 3 different names, got 2 with 2 different"


def test_an_unknown_split():
    message = _message(DataError, datasets.from_arrays, IMAGES[:2], split=np.array(["train", "dev"]))
    assert message == "split 'dev' is unknown. Allowed: train, validation, test."
    split = ["Training", "val", "VALID", "testing"]
    assert datasets.from_arrays(IMAGES[:4], split=split)["split"].values.tolist() == [
        "train", "validation", "validation", "test",
    ]  # fmt: skip
    assert "split 'tset' is unknown; did you mean 'test'?" in _message(
        DataError, datasets.from_arrays, IMAGES, split="tset"
    )


def test_splits_of_a_wrong_shape():
    message = _message(DataError, datasets.from_arrays, IMAGES, split=np.array(["train"] * 3))
    assert message == "split must be one word or have shape (40,) like the images, got (3,)"


# ------------------------------------------------------------------------------------------------------------ npz


def test_npz_with_images_labels_and_split(tmp_path):
    split = np.array(["train"] * 25 + ["validation"] * 5 + ["test"] * 10)
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS, split=split)
    for name in ("train", "validation", "test"):
        data = datasets.load(str(tmp_path / "mine.npz"), name)
        np.testing.assert_array_equal(data["image"], IMAGES[split == name] / np.float32(255))
        np.testing.assert_array_equal(data["label"], LABELS[split == name])
        assert set(data["split"].values) == {name}


def test_npz_in_the_singular_and_with_bytes_for_splits(tmp_path):
    np.savez(tmp_path / "mine.npz", image=IMAGES, label=LABELS, split=np.array([b"train", b"test"] * 20))
    test = datasets.load(str(tmp_path / "mine.npz"), "test")
    np.testing.assert_array_equal(test["image"], IMAGES[1::2] / np.float32(255))


def test_npz_in_the_layout_of_keras(tmp_path):
    np.savez(
        tmp_path / "mine.npz",
        x_train=IMAGES[:30],
        y_train=LABELS[:30, None],
        x_test=IMAGES[30:],
        y_test=LABELS[30:, None],
    )
    train = datasets.load(str(tmp_path / "mine.npz"), "train+validation")
    test = datasets.load(str(tmp_path / "mine.npz"), "test")
    np.testing.assert_array_equal(train["image"], IMAGES[:30] / np.float32(255))
    np.testing.assert_array_equal(test["image"], IMAGES[30:] / np.float32(255))
    np.testing.assert_array_equal(test["label"], LABELS[30:])


def test_npz_without_splits_and_labels(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES)
    parts = {name: datasets.load(str(tmp_path / "mine.npz"), name) for name in ("train", "validation", "test")}
    assert [part.sizes["presentation"] for part in parts.values()] == [29, 3, 8]
    together = np.concatenate([part["image"].values for part in parts.values()])
    assert sorted(image.tobytes() for image in together) == sorted(
        image.tobytes() for image in IMAGES / np.float32(255)
    )
    assert len({name for part in parts.values() for name in part["stimulus_id"].values}) == 40


def test_load_makes_a_validation_part(tmp_path):
    split = np.array(["train"] * 35 + ["test"] * 5)
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, split=split)
    np.savez(tmp_path / "b.npz", images=255 - IMAGES, labels=LABELS, split=split)
    ids = {}
    for name in ("train", "validation", "train+validation", "test"):
        data = datasets.load(str(tmp_path / "a.npz"), name)
        ids[name] = data["stimulus_id"].values.tolist()
        assert data.identical(datasets.load(str(tmp_path / "a.npz"), name))
    assert len(ids["validation"]) == 3
    assert sorted(ids["train"] + ids["validation"]) == sorted(ids["train+validation"])
    assert not set(ids["train"]) & set(ids["validation"])
    assert len(ids["test"]) == 5
    # The choice looks at the number of images alone.
    images = [datasets.load(str(tmp_path / name), "validation")["image"].values for name in ("a.npz", "b.npz")]
    np.testing.assert_allclose(images[0], 1 - images[1], atol=1e-6)
    label = '[0, "validation", "own", 35]'
    seed = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "little")
    chosen = np.sort(np.random.Generator(np.random.PCG64(seed)).permutation(35)[:3])
    np.testing.assert_array_equal(images[0], IMAGES[chosen] / np.float32(255))


def test_a_split_that_is_not_there(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, images=IMAGES, split=np.array(["train"] * 40))
    message = _message(DataError, datasets.load, str(path), "test")
    assert message == f"{path} has no presentations of the split 'test' (it has train, validation)"


def test_limit(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS)
    some = datasets.load(str(tmp_path / "mine.npz"), limit=7)
    assert some.sizes["presentation"] == 7
    whole = datasets.load(str(tmp_path / "mine.npz"))
    assert set(some["stimulus_id"].values) < set(whole["stimulus_id"].values)


@pytest.mark.parametrize(
    "content",
    [
        {"pictures": IMAGES},
        {"x_train": IMAGES, "x_test": IMAGES},
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :2], "y_test": LABELS},
        {"images": np.array([{"a": 1}, {"b": 2}], dtype=object)},
    ],
    ids=["other names", "no y_train", "two shapes", "objects"],
)
def test_npz_of_another_layout(tmp_path, content):
    np.savez(tmp_path / "mine.npz", **content)
    message = _message(DataError, datasets.load, str(tmp_path / "mine.npz"))
    assert str(tmp_path / "mine.npz") in message
    assert "An .npz or netCDF file holds 'images'" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"labels": LABELS[:5]}, "labels must have shape (40,) like the images, got (5,)"),
        ({"split": np.array(["train"] * 3)}, "split must be one word or have shape (40,) like the images, got (3,)"),
        ({"split": np.array(["dev"] * 40)}, "split 'dev' is unknown. Allowed: train, validation, test."),
    ],
    ids=["labels", "split", "words"],
)
def test_npz_whose_arrays_do_not_fit(tmp_path, content, expected):
    np.savez(tmp_path / "mine.npz", images=IMAGES, **content)
    message = _message(DataError, datasets.load, str(tmp_path / "mine.npz"))
    assert message.startswith(f"{tmp_path / 'mine.npz'}: {expected}")


@pytest.mark.parametrize("name", ["mine.npz", "mine.nc"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 30], ids=["empty", "garbage"])
def test_files_that_cannot_be_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    message = _message(DataError, datasets.load, str(tmp_path / name))
    assert message.startswith(f"cannot read {tmp_path / name}: ")


@pytest.mark.parametrize("kind", ["damaged", "npy"])
def test_an_npz_that_is_damaged_or_an_npy(tmp_path, kind):
    path = tmp_path / "mine.npz"
    if kind == "npy":
        with open(path, "wb") as file:
            np.save(file, IMAGES)
    else:
        np.savez_compressed(path, images=np.random.default_rng(0).random((50, 8, 8)))
        data = bytearray(path.read_bytes())
        data[100:140] = bytes(255 - byte for byte in data[100:140])
        path.write_bytes(data)
    with pytest.raises(DataError, match="cannot read"):
        datasets.load(str(path))


def test_an_unknown_suffix(tmp_path):
    (tmp_path / "mine.mat").write_bytes(b"x")
    message = _message(DataError, datasets.load, str(tmp_path / "mine.mat"))
    assert message.startswith(f"{tmp_path / 'mine.mat'}: files ending in '.mat' are not understood.")


def test_a_path_object_is_a_path(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES)
    assert datasets.load(tmp_path / "mine.npz").identical(datasets.load(str(tmp_path / "mine.npz")))


# --------------------------------------------------------------------------------------------------------- netCDF


def test_netcdf_round_trip(tmp_path):
    split = np.array(["train"] * 20 + ["validation"] * 8 + ["test"] * 12)
    values = IMAGES / 255 * 2 - 1
    whole = datasets.from_arrays(
        values, LABELS, split=split, value_range=(-1, 1), class_names=["a", "b", "c"], name="mine"
    )
    whole.to_netcdf(tmp_path / "mine.nc")
    for name in ("train", "validation", "test"):
        data = datasets.load(str(tmp_path / "mine.nc"), name)
        expected = whole.isel(presentation=np.flatnonzero(split == name))
        xr.testing.assert_equal(data, expected)
        assert list(data["image"].attrs["value_range"]) == [-1.0, 1.0]
        assert label_names(data) == ["a", "b", "c"]


def test_a_split_that_was_saved_is_loaded_as_it_was(tmp_path):
    test = datasets.load("digits", "test", limit=30)
    test.to_netcdf(tmp_path / "some.nc")
    xr.testing.assert_equal(datasets.load(str(tmp_path / "some.nc"), "test"), test)


def test_plain_netcdf_of_unsigned_bytes(tmp_path):
    plain = xr.Dataset({"images": (("n", "y", "x"), IMAGES), "labels": ("n", LABELS)})
    plain.to_netcdf(tmp_path / "mine.nc")
    data = _all_splits(tmp_path / "mine.nc")
    assert sorted(image.tobytes() for image in data["image"].values) == sorted(
        image.tobytes() for image in IMAGES.astype(np.float32) / np.float32(255)
    )
    assert int((data["split"] == "test").sum()) == 8


def test_netcdf_of_another_layout(tmp_path):
    xr.Dataset({"pictures": (("n", "y", "x"), IMAGES)}).to_netcdf(tmp_path / "mine.nc")
    message = _message(DataError, datasets.load, str(tmp_path / "mine.nc"))
    assert message.startswith(f"{tmp_path / 'mine.nc'} holds pictures. An .npz or netCDF file holds 'images'")


def test_netcdf_whose_range_is_one_number(tmp_path):
    plain = xr.Dataset({"image": (("n", "y", "x"), IMAGES, {"value_range": 1.0})})
    plain.to_netcdf(tmp_path / "mine.nc")
    assert str(tmp_path / "mine.nc") in _message(DataError, datasets.load, str(tmp_path / "mine.nc"))


def test_netcdf_with_a_list_of_class_names(tmp_path):
    plain = xr.Dataset({"image": (("n", "y", "x"), IMAGES), "label": ("n", LABELS, {"class_names": ["a", "b", "c"]})})
    plain.to_netcdf(tmp_path / "mine.nc")
    assert label_names(datasets.load(str(tmp_path / "mine.nc"))) == ["a", "b", "c"]


# -------------------------------------------------------------------------------------------------- image folders


def _png(path, value, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (5, 6) if mode == "L" else (5, 6, len(mode))
    pixels = np.full(shape, value, np.uint8)
    pixels[0] = 0
    Image.fromarray(pixels).save(path)
    return pixels


def test_a_folder_with_one_folder_per_class(tmp_path):
    expected = {}
    for index in range(10):
        name = ("cat", "dog")[index % 2]
        _png(tmp_path / "pets" / name / f"{index}.png", 10 + index)
        expected[10 + index] = name
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("not an image")
    data = _all_splits(tmp_path / "pets")
    assert data["image"].dims == ("presentation", "row", "column")
    assert label_names(data) == ["cat", "dog"]
    found = {round(float(image[2, 2]) * 255): str(name) for image, name in _pairs(data)}
    assert found == expected
    np.testing.assert_array_equal(data["image"][:, 0], 0)
    assert sorted(data["split"].values.tolist()) == ["test"] * 2 + ["train"] * 7 + ["validation"]


def _pairs(data):
    return zip(data["image"].values, data["object_name"].values, strict=True)


def test_a_folder_with_splits(tmp_path):
    for index, (split, name) in enumerate(
        [("train", "dog"), ("train", "cat"), ("train", "cat"), ("test", "dog"), ("test", "emu")]
    ):
        _png(tmp_path / split / name / f"{index}.png", 100 + index)
    test = datasets.load(str(tmp_path), "test")
    assert {round(float(image[2, 2]) * 255): str(name) for image, name in _pairs(test)} == {103: "dog", 104: "emu"}
    assert label_names(test) == ["cat", "dog", "emu"]
    assert test["label"].values.tolist() == [1, 2]
    train = datasets.load(str(tmp_path), "train+validation")
    assert sorted(round(float(image[2, 2]) * 255) for image in train["image"].values) == [100, 101, 102]


def test_colour_images_have_channels_last(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), np.uint8)
    for name, image in zip("ab", pixels, strict=True):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "1.png")
    data = datasets.load(str(tmp_path), "test")
    assert data["image"].dims == ("presentation", "row", "column", "channel")
    np.testing.assert_array_equal(data["image"].values[0], pixels[int(data["label"][0])] / np.float32(255))


def test_black_and_white_and_palette_images(tmp_path):
    grey = np.random.default_rng(0).integers(0, 2, (5, 6), np.uint8) * 255
    (tmp_path / "bits" / "a").mkdir(parents=True)
    Image.fromarray(grey).convert("1").save(tmp_path / "bits" / "a" / "1.png")
    np.testing.assert_array_equal(datasets.load(str(tmp_path / "bits"), "test")["image"].values[0], grey / 255)
    (tmp_path / "palette" / "a").mkdir(parents=True)
    Image.fromarray(grey).convert("P").save(tmp_path / "palette" / "a" / "1.png")
    image = datasets.load(str(tmp_path / "palette"), "test")["image"]
    np.testing.assert_array_equal(image.values[0], np.repeat(grey[..., None] / 255, 3, axis=2))


@pytest.mark.parametrize("kind", ["16 bits", "float"])
def test_images_of_more_than_8_bits_are_refused(tmp_path, kind):
    # Pillow would clip them to 255 without a word.
    ramp = np.linspace(0, 1, 30).reshape(5, 6)
    path = tmp_path / "a" / ("1.png" if kind == "16 bits" else "1.tif")
    path.parent.mkdir()
    Image.fromarray((ramp * 65535).astype(np.uint16) if kind == "16 bits" else ramp.astype(np.float32)).save(path)
    message = _message(DataError, datasets.load, str(tmp_path))
    assert message == f"{path} has more than 8 bits per channel; save it as 8 bits, or use an .npz"


def test_a_split_folder_of_an_unknown_name_is_not_ignored(tmp_path):
    for index, split in enumerate(["train", "train", "dev", "test"]):
        _png(tmp_path / split / "a" / f"{index}.png", 100 + index)
    message = _message(DataError, datasets.load, str(tmp_path))
    assert message.startswith(f"{tmp_path} holds dev beside train, test: is that a split?")


def test_images_of_different_sizes(tmp_path):
    _png(tmp_path / "a" / "1.png", 1)
    Image.fromarray(np.zeros((7, 6), np.uint8)).save(tmp_path / "a" / "2.png")
    message = _message(DataError, datasets.load, str(tmp_path))
    assert message == f"{tmp_path / 'a' / '2.png'} has shape (7, 6), the first image (5, 6); make them equal"


def test_grey_and_colour_images_together(tmp_path):
    _png(tmp_path / "a" / "1.png", 1)
    _png(tmp_path / "a" / "2.png", 1, mode="RGB")
    assert "2.png has shape (5, 6, 3), the first image (5, 6)" in _message(DataError, datasets.load, str(tmp_path))


def test_an_image_that_cannot_be_read(tmp_path):
    _png(tmp_path / "a" / "1.png", 1)
    (tmp_path / "a" / "2.png").write_bytes(b"no image")
    message = _message(DataError, datasets.load, str(tmp_path))
    assert message.startswith(f"cannot read the image {tmp_path / 'a' / '2.png'}: ")


def test_an_image_that_is_cut_off(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "1.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    assert _message(DataError, datasets.load, str(tmp_path)).startswith(f"cannot read the image {path}: ")


def test_folders_without_images_in_classes(tmp_path):
    (tmp_path / "empty").mkdir()
    _png(tmp_path / "flat" / "1.png", 1)
    (tmp_path / "classes" / "a").mkdir(parents=True)
    for name in ("empty", "flat", "classes"):
        message = _message(DataError, datasets.load, str(tmp_path / name))
        assert message.startswith(f"{tmp_path / name} holds no images in class folders. An .npz or netCDF file")


def test_a_folder_is_ordered_by_content(tmp_path):
    for index in range(12):
        _png(tmp_path / "one" / "ab"[index % 2] / f"{index:02d}.png", 10 + index)
        _png(tmp_path / "two" / "ab"[index % 2] / f"{99 - index:02d}.png", 10 + index)
    for split in ("train", "validation", "test"):
        assert datasets.load(tmp_path / "one", split).identical(datasets.load(tmp_path / "two", split))


# ----------------------------------------------------------------------------------- names that are made of content


def _names(data):
    """Return the id of each (image, label), as bytes and number."""
    rows = zip(data["image"].values, data["label"].values, data["stimulus_id"].values, strict=True)
    return {(image.tobytes(), int(label)): str(name) for image, label, name in rows}


def test_an_image_keeps_its_id_wherever_it_stands():
    whole = datasets.from_arrays(IMAGES, LABELS)
    assert len(_names(whole)) == len(set(whole["stimulus_id"].values)) == 40
    assert _names(datasets.from_arrays(IMAGES[::-1], LABELS[::-1])) == _names(whole)
    some = datasets.from_arrays(IMAGES[7:9], LABELS[7:9], split="test", name="another", class_names=["a", "b", "c"])
    np.testing.assert_array_equal(some["stimulus_id"], whole["stimulus_id"][7:9])


def test_the_id_is_made_of_shape_and_pixels():
    image = np.linspace(0, 1, 6, dtype=np.float32)
    expected = hashlib.sha256(b"[2, 3]" + image.tobytes()).hexdigest()[:16]
    assert datasets.from_arrays(image.reshape(1, 2, 3))["stimulus_id"].item() == f"{expected}-0"
    shapes = [(1, 2, 3), (1, 3, 2), (1, 6)]
    assert len({datasets.from_arrays(image.reshape(shape))["stimulus_id"].item() for shape in shapes}) == 3
    as_bytes, as_floats = (datasets.from_arrays(values)["stimulus_id"] for values in (IMAGES, IMAGES / np.float32(255)))
    np.testing.assert_array_equal(as_bytes, as_floats)
    zeros = [datasets.from_arrays(np.full((1, 2, 2), zero))["stimulus_id"].item() for zero in (0.0, -0.0)]
    assert zeros[0] == zeros[1]


def test_equal_images_are_numbered_and_their_place_does_not_matter():
    images, labels = IMAGES[[0, 1, 0, 0]], np.array([2, 0, 1, 0])
    data = datasets.from_arrays(images, labels)
    first, second = (data["stimulus_id"].values[index].rpartition("-")[0] for index in (0, 1))
    assert data["stimulus_id"].values.tolist() == [f"{first}-2", f"{second}-0", f"{first}-1", f"{first}-0"]
    assert _names(datasets.from_arrays(images[::-1], labels[::-1])) == _names(data)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("learnt", ["train", "validation"])
def test_images_in_training_and_test_data_are_counted(learnt, named):
    images = IMAGES[[0, 1, 2, 0, 2, 3, 0]]
    split = np.array([learnt] * 3 + ["test"] * 4)
    with pytest.warns(UserWarning, match="^mine: 3 of 4 images of the split 'test' are in the training data as well"):
        data = datasets.from_arrays(images, split=split, name="mine", stimulus_id=list("abcdefg") if named else None)
    assert len(set(data["stimulus_id"].values)) == 7


def test_equal_images_of_one_split_are_no_matter():
    datasets.from_arrays(IMAGES[[0, 0, 1]], split=np.array(["train", "validation", "test"]))
    datasets.from_arrays(IMAGES[[0, 1, 1]], split=np.array(["train", "test", "test"]))


def test_one_image_in_two_splits_is_found_whatever_it_is_read_from(tmp_path):
    split = np.array(["train"] * 30 + ["test"] * 10)
    images = IMAGES.copy()
    images[35] = images[3]
    np.savez(tmp_path / "mine.npz", images=images, split=split)
    xr.Dataset({"image": (("n", "y", "x"), images), "split": ("n", split)}).to_netcdf(tmp_path / "mine.nc")
    for index, (part, image) in enumerate(zip(split, images, strict=True)):
        path = tmp_path / "mine" / part / "a" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    for name in ("mine.npz", "mine.nc", "mine"):
        with pytest.warns(UserWarning, match="1 of 10 images"):
            data = datasets.load(tmp_path / name, "test")
        assert data.sizes["presentation"] == 10


def test_arrays_that_were_made_apart_meet_in_the_check_for_overlap():
    learnt, tested = datasets.from_arrays(IMAGES[:5]), datasets.from_arrays(IMAGES[4:8], split="test")
    with pytest.raises(SplitError, match="1 of 4 stimuli were used for fitting"):
        require_disjoint(tested["stimulus_id"].values, learnt["stimulus_id"].values, "test")


# ---------------------------------------------------------------------------------------------------------- keys


def _key(name, **settings):
    dataset = DATASETS.parse({"name": str(name), **settings})
    return digest({**dataset.identity(), "content": dataset.content()})


def test_the_key_of_a_file_follows_its_contents_and_not_its_name(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES)
    before = _key(tmp_path / "a.npz")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "a.npz", tmp_path / "elsewhere" / "b.npz")
    assert _key(tmp_path / "elsewhere" / "b.npz") == before
    assert _key(tmp_path / "a.npz", fit_on="train+validation") == before
    assert _key(tmp_path / "a.npz", limit=5) != before
    for split in ("train", "validation", "test"):
        first, second = (datasets.load(tmp_path / name, split) for name in ("a.npz", "elsewhere/b.npz"))
        assert first.identical(second)
    np.savez(tmp_path / "a.npz", images=255 - IMAGES)
    assert _key(tmp_path / "a.npz") != before


def test_the_key_of_a_folder_follows_classes_and_images_and_not_names_of_files(tmp_path):
    folder = tmp_path / "pets"
    for index in range(4):
        _png(folder / "ab"[index % 2] / f"{index}.png", 10 + index)
    keys = [_key(folder)]
    shutil.copytree(folder, tmp_path / "moved")
    (tmp_path / "moved" / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "moved" / "a" / "0.png").rename(tmp_path / "moved" / "a" / "zero.png")
    assert _key(tmp_path / "moved") == keys[0]
    _png(folder / "a" / "0.png", 99)
    keys.append(_key(folder))
    (folder / "a" / "0.png").rename(folder / "b" / "0.png")  # another class
    keys.append(_key(folder))
    (folder / "b" / "1.png").unlink()
    keys.append(_key(folder))
    assert len(set(keys)) == 4


def test_draws_and_results_are_not_named_by_a_path(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES)
    assert DATASETS.parse({"name": str(tmp_path / "mine.npz")}).word == "own"
    assert datasets.load(tmp_path / "mine.npz").attrs["dataset"] == "own"


def test_a_file_is_hashed_once_unless_it_changes(tmp_path, monkeypatch):
    path, read = tmp_path / "mine.npz", []
    np.savez(path, images=IMAGES)
    monkeypatch.setattr(files, "sha256", lambda path: read.append(path) or sha256(path))
    fresh = _key(path)
    assert _key(path) == fresh
    assert len(read) == 2  # it may change again within the same tick of the clock
    os.utime(path, (1_000_000, 1_000_000))
    assert [_key(path) for _ in range(3)] == [fresh] * 3
    assert len(read) == 3
    np.savez(path, images=255 - IMAGES)
    os.utime(path, (2_000_000, 2_000_000))
    assert _key(path) != fresh
    assert len(read) == 4


@pytest.mark.parametrize("name", ["missing.npz", "mine.mat"])
def test_the_key_of_what_cannot_be_read(tmp_path, name):
    (tmp_path / "mine.mat").write_bytes(b"x")
    assert "An .npz or netCDF file holds 'images'" in _message(DataError, _key, tmp_path / name)


# ------------------------------------------------------------------------------------------------- words and settings


def test_unknown_words_and_settings(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES)
    assert _message(ConfigError, datasets.load, "mnits").startswith("unknown dataset 'mnits'; did you mean 'mnist'? ")
    assert "unknown split 'tset'; did you mean 'test'?" in _message(ConfigError, datasets.load, "digits", "tset")
    assert _message(ConfigError, datasets.load, "digits", limits=3) == (
        "digits: unknown key 'limits' (value 3); did you mean 'limit'? Allowed here: fit_on, limit, name."
    )
    assert "unknown key 'size'" in _message(ConfigError, datasets.load, "digits", size=3)
    assert "unknown key 'count'" in _message(ConfigError, datasets.load, tmp_path / "mine.npz", count=3)
    for split in ("tset", "train+test"):
        message = _message(ConfigError, DATASETS.parse({"name": str(tmp_path / "mine.npz")}).load, split)
        assert message.startswith(f"unknown split '{split}'")
    assert "give its whole path" in _message(ConfigError, datasets.load, tmp_path / "mine.npz", "train", tmp_path)


# --------------------------------------------------------------------------------------------- a class of the user's

BLOBS = """
import numpy as np
from biorep.config import setting
from biorep.contracts import Dataset
from biorep.datasets import from_arrays, select, subset


class Blobs(Dataset):
    n: int = setting(20, ge=1, description="number of images")

    def content(self):
        return {}

    def load(self, split):
        images = np.random.default_rng(0).random((self.n, 4, 4))
        split_of = np.where(np.arange(self.n) % 5, "train", "test")
        whole = from_arrays(images, np.arange(self.n) % 2, split=split_of, name=self.word)
        return subset(select(whole, split), self.limit)
"""


def test_a_class_of_the_users_file(tmp_path):
    (tmp_path / "my.py").write_text(BLOBS)
    word = f"{tmp_path / 'my.py'}:Blobs"
    dataset = DATASETS.parse({"name": word, "n": 10})
    assert dataset.word == "Blobs"
    sizes = {split: dataset.load(split).sizes["presentation"] for split in ("train", "validation", "test")}
    assert sizes == {"train": 7, "validation": 1, "test": 2}
    assert datasets.load(word, "train+validation", n=10, limit=3).sizes["presentation"] == 3
    assert "unknown key 'm' (value 3)" in _message(ConfigError, datasets.load, word, m=3)
    assert "defines no dataset 'Blob'" in _message(ConfigError, datasets.load, word[:-1])


def test_the_key_of_a_users_class_follows_its_text_and_not_its_place(tmp_path):
    texts = {"one/my.py": BLOBS, "two/other.py": BLOBS, "three/my.py": BLOBS.replace("(0)", "(1)")}
    keys = {}
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text)
        keys[name] = _key(f"{path}:Blobs")
    assert keys["one/my.py"] == keys["two/other.py"] != keys["three/my.py"]
    assert _key(f"{tmp_path / 'one/my.py'}:Blobs", n=10) != keys["one/my.py"]


# ------------------------------------------------------------------------------------------------------------ cost


def test_the_import_loads_nothing_heavy():
    code = "import biorep.datasets as d, sys; d.available; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "brian2", "xarray", "scipy", "sklearn", "matplotlib"} & set(loaded)


# ---------------------------------------------------------------------------------------- arrays under other names

BYTES = np.random.default_rng(0).integers(0, 255, (10, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.arange(10) % 2}, "has no 'labels', but 'y' has one value per image"),
        ({"targets": np.arange(10)[:, None] % 2}, "has no 'labels', but 'targets' has one value"),
        ({"labels": np.arange(10) % 2, "splits": np.array(["train"] * 10)}, "has no 'split', but 'splits' has one"),
        ({"labels": np.arange(10) % 2, "label": np.arange(10) % 3}, "it holds both 'labels' and 'label'"),
        ({"labels": np.arange(10) % 2, "image": BYTES}, "it holds both 'images' and 'image'"),
    ],
)
def test_arrays_that_are_meant_but_named_otherwise_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", images=BYTES, **arrays)
    with pytest.raises(DataError, match=message):
        own.read_path(tmp_path / "a.npz")


def test_arrays_that_are_not_used_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", images=BYTES, labels=np.arange(10) % 2, subject=np.arange(10), extra=np.eye(3))
    with pytest.warns(UserWarning, match="a.npz: not used: extra, subject"):
        own.read_path(tmp_path / "a.npz")
    data = xr.Dataset(
        {"images": (("presentation", "row", "column"), BYTES), "labels": ("presentation", np.arange(10) % 2)}
    )
    data.assign(subject=("presentation", np.arange(10))).to_netcdf(tmp_path / "a.nc")
    with pytest.warns(UserWarning, match="a.nc: not used: subject"):
        own.read_path(tmp_path / "a.nc")


def test_labels_of_each_part_fit_its_images(tmp_path):
    arrays = {"x_train": BYTES[:6], "y_train": np.arange(7) % 2, "x_test": BYTES[6:], "y_test": np.arange(3) % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match="y_train has 7 labels for the 6 images of x_train"):
        own.read_path(tmp_path / "a.npz")


def test_dims_of_a_netcdf_file_are_read_by_their_names(tmp_path):
    data = xr.Dataset(
        {"images": (("presentation", "row", "column"), BYTES), "labels": ("presentation", np.arange(10) % 2)}
    )
    data.to_netcdf(tmp_path / "a.nc")
    data.transpose("row", "column", "presentation").to_netcdf(tmp_path / "b.nc")
    one, other = (own.read_path(tmp_path / name) for name in ("a.nc", "b.nc"))
    assert one.identical(other)
