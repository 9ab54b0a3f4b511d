"""The digits of scikit-learn: one stored stratified split, a seeded validation part."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import sklearn.datasets

from biorep import datasets
from biorep.datasets.digits import Digits
from biorep.errors import ConfigError, DataError


def _ids(dataset):
    return set(dataset["stimulus_id"].values.tolist())


def _as_multiset(images):
    return sorted(image.tobytes() for image in np.asarray(images, np.float32))


@pytest.fixture(scope="module")
def raw():
    return sklearn.datasets.load_digits()


def test_sizes_and_dims(digits):
    assert {split: data.sizes["presentation"] for split, data in digits.items()} == {
        "train": 1294,
        "validation": 143,
        "test": 360,
    }
    for split, data in digits.items():
        assert data["image"].dims == ("presentation", "row", "column")
        assert data["image"].shape[1:] == (8, 8)
        assert data["image"].dtype == np.float32
        assert set(data["split"].values) == {split}


def test_the_three_parts_hold_every_digit_exactly_once(digits, raw):
    together = np.concatenate([data["image"].values for data in digits.values()])
    assert _as_multiset(together) == _as_multiset(raw.images / 16)


def test_stimuli_are_unique_and_the_parts_disjoint(digits):
    ids = [_ids(data) for data in digits.values()]
    assert [len(part) for part in ids] == [1294, 143, 360]
    assert len(set.union(*ids)) == 1797


def test_the_test_split_is_stratified(digits, raw):
    total, test = np.bincount(raw.target), np.bincount(digits["test"]["label"])
    assert np.all(np.abs(test - total * 360 / 1797) < 1)


def test_images_keep_their_labels(digits, raw):
    label_of = {image.tobytes(): label for image, label in zip(raw.images, raw.target, strict=True)}
    assert len(label_of) == 1797  # no two images are equal, so that an image tells its label
    for data in digits.values():
        images = np.round(data["image"].values.astype(float) * 16)
        expected = [label_of[image.tobytes()] for image in images]
        np.testing.assert_array_equal(data["label"], expected)
        np.testing.assert_array_equal(data["object_name"], [str(label) for label in expected])


def test_values_fill_their_stated_range(digits):
    for data in digits.values():
        assert data["image"].attrs["value_range"] == [0.0, 1.0]
        assert float(data["image"].min()) == 0
        assert float(data["image"].max()) == 1


def test_the_validation_part_is_the_seeded_one(digits):
    label = '[0, "validation", "digits", 1437]'
    seed = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "little")
    chosen = np.random.Generator(np.random.PCG64(seed)).permutation(1437)[:143]
    assert _ids(digits["validation"]) == {f"digits-train-{index:05d}" for index in chosen}
    assert digits["train"].attrs["validation_seed"] == 0
    assert digits["train"].attrs["validation_count"] == 143


def test_the_validation_part_depends_on_nothing(digits, tmp_path):
    np.random.seed(1)
    again = datasets.load("digits", "validation", root=tmp_path)
    assert again.identical(digits["validation"])


def test_train_and_validation_make_up_the_published_training_set(digits):
    both = datasets.load("digits", "train+validation")
    assert both.sizes["presentation"] == 1437
    assert _ids(both) == _ids(digits["train"]) | _ids(digits["validation"])
    for split in ("train", "validation"):
        part = both.isel(presentation=np.flatnonzero(both["split"] == split))
        np.testing.assert_array_equal(part["stimulus_id"], digits[split]["stimulus_id"])
        np.testing.assert_array_equal(part["image"], digits[split]["image"])


def test_limit_is_a_seeded_subset(digits):
    whole = digits["train"]
    some = datasets.load("digits", "train", limit=50)
    assert some.identical(datasets.load("digits", "train", limit=50))
    positions = [whole["stimulus_id"].values.tolist().index(name) for name in some["stimulus_id"].values]
    assert positions == sorted(set(positions))
    assert len(positions) == 50
    assert max(positions) > 1000  # spread over the split, not its beginning
    np.testing.assert_array_equal(some["image"], whole["image"].values[positions])
    assert _ids(datasets.load("digits", "train", limit=20)) < _ids(some)


def test_a_limit_beyond_the_end_keeps_everything(digits):
    assert datasets.load("digits", "test", limit=10_000).identical(digits["test"])


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one(limit):
    expected = f"^digits: 'limit' is {limit}, but input should be greater than or equal to 1$"
    with pytest.raises(ConfigError, match=expected):
        datasets.load("digits", limit=limit)


@pytest.mark.parametrize("count", [0, -1, 2.5, "3", True, float("nan")])
def test_a_subset_of_no_whole_number(digits, count):
    with pytest.raises(ConfigError, match=f"^the number of images must be a whole number, at least 1, got {count!r}$"):
        datasets.subset(digits["test"], count)


def test_what_no_dataset_is_selected_from(digits):
    for wrong in (digits["test"].drop_vars("split"), digits["test"]["image"].values):
        with pytest.raises(DataError, match="^the dataset has no coordinate 'split'"):
            datasets.select(wrong, "test")
    with pytest.raises(ConfigError, match="^root must be a folder, got 5$"):
        datasets.load("mnist", root=5)


def test_changed_digits_are_refused(monkeypatch, raw):
    changed = type(raw)(**raw)
    changed["images"] = raw.images.copy()
    changed["images"][0, 0, 0] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: changed)
    expected = Digits().content()["sha256"]
    with pytest.raises(DataError, match=f"digits have changed: SHA-256 [0-9a-f]{{64}}, expected {expected}"):
        datasets.load("digits")


def test_licence_and_citation_are_attached(digits):
    assert digits["test"].attrs["dataset"] == "digits"
    assert digits["test"].attrs["licence"] == "CC BY 4.0"
    assert "Alpaydin" in digits["test"].attrs["citation"]


def test_content_checksum_depends_on_images_and_labels(digits):
    test = digits["test"]
    reference = datasets.content_sha256(test)
    assert reference == datasets.content_sha256(test.copy(deep=True))
    image, label = test.copy(deep=True), test.copy(deep=True)
    image["image"][0, 0, 0] += 0.5
    label["label"][0] = (int(label["label"][0]) + 1) % 10
    assert len({reference, datasets.content_sha256(image), datasets.content_sha256(label)}) == 3
