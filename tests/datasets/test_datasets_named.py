"""Arrays with names: what an `.npz` or a netCDF file says about itself is read, or named as not used."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biorep import datasets
from biorep.config import digest
from biorep.datasets import layout, own
from biorep.errors import DataError, NumericalError
from biorep.schema import label_names
from biorep.tables import DATASETS

IMAGES = np.random.default_rng(0).integers(2, 255, (10, 4, 5), np.uint8)
LABELS = np.arange(10) % 2
INNER = ("row", "column", "channel")
EVERY = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _write(path, **arrays):
    """Write arrays as an .npz, or as a netCDF file in which those of each split have a first dim of their own."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        split = {name: "_".join(set(name.split("_")) - {"x", "y", "images", "labels"}) for name in arrays}
        dims = {name: (f"{split[name]}_n", *INNER)[: np.ndim(array)] for name, array in arrays.items()}
        xr.Dataset({name: (dims[name], array) for name, array in arrays.items()}).to_netcdf(path)
    return path


def _base(**attributes):
    """Return a dataset as a user may write it, to be changed."""
    images, labels = (("presentation", "row", "column"), IMAGES, attributes), ("presentation", LABELS)
    return xr.Dataset({"images": images, "labels": labels}).copy(deep=True)


def _message(error, path):
    with pytest.raises(error) as caught:
        own.read_path(path)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ dims of a netCDF


@EVERY
@given(
    order=st.permutations(range(4)),
    names=st.tuples(*(st.sampled_from([word, *others]) for word, others in list(layout.WORDS.items())[:4])),
    word=st.sampled_from(["image", "images"]),
)
def test_any_order_of_dims_is_the_same_dataset(tmp_path, order, names, word):
    images = np.random.default_rng(0).random((4, 4, 4, 4), np.float32)  # sizes say nothing
    name = word if word not in names else "images" if word == "image" else "image"
    table = {name: (tuple(names[axis] for axis in order), images.transpose(order))}
    xr.Dataset({**table, "label": ("other", [0, 1, 0, 1])}).to_netcdf(tmp_path / "a.nc")
    found = own.read_path(tmp_path / "a.nc")
    given = {"split": found["split"].values, "name": "own", "dims": ["presentation", *INNER]}
    assert found.identical(datasets.from_arrays(images, [0, 1, 0, 1], **given))


def test_a_dataset_that_was_written_transposed_reads_back(tmp_path):
    whole = datasets.load("digits", "test", limit=12)
    whole.transpose("column", "presentation", "row").to_netcdf(tmp_path / "a.nc")
    xr.testing.assert_equal(own.read_path(tmp_path / "a.nc"), whole)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda data: data.rename(row="depth"), "images have the dim 'depth', which is unknown"),
        (lambda data: data.assign(labels=("row", np.arange(4) % 2)), "labels stand along the dim 'row'"),
        (lambda data: data.assign(split=("column", ["train"] * 5)), "split stand along the dim 'column'"),
    ],
)
def test_dims_that_make_no_dataset(tmp_path, changed, words):
    changed(_base()).to_netcdf(tmp_path / "a.nc")
    assert words in _message(DataError, tmp_path / "a.nc")


# ------------------------------------------------------------------------------------------------- values of a netCDF


def test_fill_values_that_stand_nowhere_change_nothing(tmp_path):
    _base().to_netcdf(tmp_path / "a.nc", encoding={"images": {"_FillValue": 255}, "labels": {"_FillValue": -1}})
    signed = _base(_Unsigned="true", _FillValue=np.int8(-1))
    signed["images"] = signed["images"].astype(np.int8)
    signed.to_netcdf(tmp_path / "b.nc")
    expected = own.read_path(_write(tmp_path / "a.npz", images=IMAGES, labels=LABELS))
    for name in ("a.nc", "b.nc"):
        assert own.read_path(tmp_path / name).identical(expected)


@EVERY
@given(
    place=st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 4)),
    kind=st.sampled_from(["npz", "nc", "fill"]),
)
def test_a_missing_value_is_refused_with_its_place(tmp_path, place, kind):
    path, data = tmp_path / f"{kind}.nc", _base(_FillValue=np.uint8(1)) if kind == "fill" else _base() / 255
    data["images"][place] = 1 if kind == "fill" else np.nan
    if kind == "npz":
        path = _write(tmp_path / "a.npz", images=data["images"].values, labels=LABELS)
    else:
        data.to_netcdf(path)
    expected = f"'images' holds 1 values that are NaN or infinite, the first at index {place}"
    assert expected in _message(NumericalError, path)


def test_a_missing_label_is_refused_with_its_place(tmp_path):
    data = _base()
    data["labels"][7] = -9
    data.to_netcdf(tmp_path / "a.nc", encoding={"labels": {"_FillValue": -9}})
    assert "1 labels are missing (NaN), the first at index 7" in _message(DataError, tmp_path / "a.nc")


def test_scale_and_offset_are_applied(tmp_path):
    _base(scale_factor=0.5 / 255, add_offset=0.25).to_netcdf(tmp_path / "a.nc")
    np.testing.assert_allclose(own.read_path(tmp_path / "a.nc")["image"], IMAGES * 0.5 / 255 + 0.25, rtol=1e-6)


@pytest.mark.parametrize("dtype", [bool, "M8[s]", "m8[s]"])
def test_values_that_are_no_numbers(tmp_path, dtype):
    _base().assign(images=(_base()["images"].dims, IMAGES.astype(dtype))).to_netcdf(tmp_path / "a.nc")
    assert "images must be unsigned bytes or real numbers, got" in _message(DataError, tmp_path / "a.nc")


# --------------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize("word", ["label", "labels"])
@pytest.mark.parametrize("kind", ["npz", "variables", "attributes", "global attributes"])
def test_range_names_and_ids_are_taken_wherever_they_stand(tmp_path, kind, word):
    said = {"value_range": [0, 300], "class_names": ["off", "on"]}
    ids = [f"s{index}" for index in range(10)]
    if kind == "npz":
        path = _write(tmp_path / "a.npz", images=IMAGES, **{word: LABELS}, stimulus_id=ids, **said)
    else:
        path, data = tmp_path / "a.nc", _base().rename(labels=word).assign(stimulus_id=("presentation", ids))
        if kind == "variables":
            data = data.assign(value_range=("pair", said["value_range"]), class_names=("class", said["class_names"]))
        elif kind == "attributes":
            data["images"].attrs["value_range"], data[word].attrs["class_names"] = said.values()
        else:
            data.attrs |= said
        data.to_netcdf(path)
    found = own.read_path(path)
    assert found["image"].attrs["value_range"] == [0, 300] and label_names(found) == ["off", "on"]
    assert found["stimulus_id"].values.tolist() == ids
    np.testing.assert_array_equal(found["image"], IMAGES)


def test_what_is_said_twice_must_be_the_same(tmp_path):
    data = _base().assign_attrs(class_names='["off", "on"]', title="kept")
    data["labels"].attrs["class_names"] = ["off", "on"]
    data.to_netcdf(tmp_path / "a.nc")
    assert own.read_path(tmp_path / "a.nc").attrs == {"dataset": "own", "title": "kept"}
    data.assign_attrs(class_names=["on", "off"]).to_netcdf(tmp_path / "b.nc")
    assert "it says twice, and not the same, what 'class_names' is" in _message(DataError, tmp_path / "b.nc")


def test_names_of_images_are_names_of_classes(tmp_path):
    words = np.array(["off", "on"])[LABELS]
    alone = own.read_path(_write(tmp_path / "a.npz", images=IMAGES, object_name=words))
    beside = own.read_path(_write(tmp_path / "b.npz", images=IMAGES, object_name=words, labels=LABELS))
    assert label_names(alone) == label_names(beside) == ["off", "on"] and alone.identical(beside)
    path = _write(tmp_path / "c.npz", images=IMAGES, object_name=words, labels=LABELS, class_names=["on", "off"])
    assert "object_name says other classes than the labels" in _message(DataError, path)


def test_what_a_netcdf_holds_beside_is_named(tmp_path):
    data = _base(valid_range=[0, 100], long_name="photographs").assign_coords(
        row=[3, 2, 1, 0], column=np.arange(5) * 0.5, presentation=list("abcdefghij")
    )
    data["extra"] = ((), 1.0, {"value_range": [0, 7]})  # says nothing of the images
    data.to_netcdf(tmp_path / "a.nc")
    data.to_netcdf(tmp_path / "a.nc", mode="a", group="more")
    with pytest.warns(UserWarning, match=r"not used: extra, presentation, row, the group /more, images.valid_range\. "):
        own.read_path(tmp_path / "a.nc")
    data.to_netcdf(tmp_path / "b.nc", group="more")
    assert _message(DataError, tmp_path / "b.nc").startswith(f"{tmp_path / 'b.nc'} holds the group /more. ")


# ------------------------------------------------------------------------------------------------ one array per split


FORMS = [
    "{}_train {}_val {}_test",
    "{}_train {}_valid {}_test",
    "train_{} validation_{} test_{}",
    "Training_{} Val_{} Testing_{}",
]


@pytest.mark.parametrize("suffix", ["npz", "nc"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", ["x y", "images labels"])
def test_validation_is_read_as_validation(tmp_path, form, words, suffix):
    image, label = words.split()
    bounds = [slice(0, 6), slice(6, 7), slice(7, 10)]
    arrays = {name.format(image): IMAGES[part] for name, part in zip(form.split(), bounds, strict=True)}
    arrays |= {name.format(label): LABELS[part] for name, part in zip(form.split(), bounds, strict=True)}
    found = own.read_path(_write(tmp_path / f"a.{suffix}", **arrays))
    assert found["split"].values.tolist() == ["train"] * 6 + ["validation"] + ["test"] * 3
    np.testing.assert_array_equal(found["image"], IMAGES / np.float32(255))
    np.testing.assert_array_equal(found["label"], LABELS)


def test_the_training_set_alone(tmp_path):
    found = own.read_path(_write(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS, class_names=["off", "on"]))
    assert set(found["split"].values) == {"train"} and label_names(found) == ["off", "on"]


def test_classes_of_two_splits_meet_by_name(tmp_path):
    path = _write(
        tmp_path / "a.npz", x_train=IMAGES[:6], y_train=list("cbbbcb"), x_test=IMAGES[6:], y_test=list("abab")
    )
    assert "".join(own.read_path(path)["object_name"].values) == "cbbbcbabab"
    assert label_names(own.read_path(path)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y_test": list("abab")}, "labels are words in one split and numbers in another"),
        (
            {"y_test": LABELS[6:], "class_names_train": ["a", "b"], "class_names_test": ["b", "a"]},
            "of two splits differ",
        ),
        ({}, "there are no labels for 'x_test', for example y_train for x_train"),
        ({"x_val": IMAGES[:1], "x_valid": IMAGES[:1]}, "it holds both 'x_val' and 'x_valid'"),
        ({"x_test": IMAGES[6:, :3], "y_test": LABELS[6:]}, "x_test has images of shape (3, 5), but x_train (4, 5)"),
    ],
)
def test_splits_that_do_not_fit(tmp_path, arrays, words):
    arrays = {"x_train": IMAGES[:6], "y_train": LABELS[:6], "x_test": IMAGES[6:], **arrays}
    assert words in _message(DataError, _write(tmp_path / "a.npz", **arrays))


def test_a_missing_value_of_a_split_is_told_with_its_array(tmp_path):
    images = IMAGES / 255
    images[8, 1, 2] = np.nan
    path = _write(tmp_path / "a.npz", x_train=images[:6], y_train=LABELS[:6], x_test=images[6:], y_test=LABELS[6:])
    assert "'x_test' holds 1 values that are NaN or infinite, the first at index (2, 1, 2)" in _message(
        NumericalError, path
    )


# -------------------------------------------------------------------------------------------- channels, names of files


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_first_are_turned_in_every_file(tmp_path, channels):
    images = np.random.default_rng(1).random((10, channels, 6, 7), np.float32)
    last = np.moveaxis(images, 1, -1)
    expected = own.read_path(_write(tmp_path / "a.npz", images=last, labels=LABELS))
    np.testing.assert_array_equal(expected["image"], last)
    assert own.read_path(_write(tmp_path / "b.npz", images=images, labels=LABELS)).identical(expected)
    named = _write(tmp_path / "c.npz", images=images, labels=LABELS, dims=["n", "c", "h", "w"])
    assert own.read_path(named).identical(expected)
    xr.Dataset({"images": xr.DataArray(images), "labels": ("dim_0", LABELS)}).to_netcdf(tmp_path / "d.nc")
    assert own.read_path(tmp_path / "d.nc").identical(expected)


@EVERY
@given(name=st.text(st.characters(categories=["L", "N"], include_characters=" .-_~"), min_size=1, max_size=20))
def test_a_file_may_have_any_name(tmp_path, name):
    original = tmp_path / "original.npz"
    if not original.exists():
        _write(original, images=IMAGES, labels=LABELS)
    other = tmp_path / f"x{name}.npz"
    shutil.copy(original, other)
    assert own.read_path(other).identical(own.read_path(original))
    keys = [DATASETS.parse({"name": str(path)}) for path in (original, other)]
    assert digest({**keys[0].identity(), "content": keys[0].content()}) == digest(
        {**keys[1].identity(), "content": keys[1].content()}
    )


def test_a_tilde_is_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _write(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    assert datasets.load("~/a.npz").identical(datasets.load(tmp_path / "a.npz"))


def test_an_idx_file_says_how_it_is_read(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    assert "biorep.datasets.idx.parse_idx" in _message(DataError, tmp_path / "train-images-idx3-ubyte")
