"""Natural patches: whitening, normalisation, and splits that do not share a pixel."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from biorep import datasets
from biorep.config import digest
from biorep.datasets import files, natural_patches, registry
from biorep.datasets.natural_patches import NaturalPatches, cut, whiten
from biorep.errors import ConfigError, DataError


def _radial_slope(image, low=0.02, high=0.2):
    """Slope of the logarithm of the radial mean amplitude against the logarithm of the frequency."""
    amplitude = np.abs(np.fft.fft2(image - image.mean()))
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None, :])
    edges = np.geomspace(low, high, 16)
    centres, means = [], []
    for left, right in itertools.pairwise(edges):
        inside = (frequency >= left) & (frequency < right)
        centres.append(frequency[inside].mean())
        means.append(amplitude[inside].mean())
    return np.polyfit(np.log(centres), np.log(means), 1)[0]


def _pink(shape, seed=0):
    """An image of amplitude spectrum 1 / f with random phases."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).standard_normal(shape))
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
    frequency[0, 0] = 1
    return np.fft.ifft2(spectrum / np.abs(spectrum) / frequency).real + 3


@pytest.fixture(scope="module")
def patches():
    return {
        split: datasets.load("natural-patches", split, source="photographs", size=8, count=200)
        for split in ("train", "validation", "test")
    }


# ------------------------------------------------------------------------------------------------------ whitening


@pytest.mark.parametrize("shape", [(256, 256), (255, 300)])
def test_whitening_flattens_the_spectrum_of_pink_noise(shape):
    image = _pink(shape)
    assert _radial_slope(image) == pytest.approx(-1, abs=0.05)
    assert _radial_slope(whiten(image)) == pytest.approx(0, abs=0.1)


def test_the_gain_is_the_filter_of_olshausen_and_field():
    image = _pink((64, 81))
    fy, fx = np.fft.fftfreq(64)[:, None], np.fft.fftfreq(81)[None, :]
    frequency = np.sqrt(fy**2 + fx**2)
    gain = np.fft.fft2(whiten(image)) / np.fft.fft2(image - image.mean())
    expected = frequency * np.exp(-((frequency / 0.4) ** 4))
    ratio = gain.flat[1:] / expected.flat[1:]  # all but the mean
    assert np.abs(ratio.imag).max() < 1e-6 * ratio.real.mean()
    np.testing.assert_allclose(ratio.real, ratio.real[0], rtol=1e-6)


def test_a_whitened_image_has_mean_0_and_variance_1():
    white = whiten(_pink((50, 71)))
    assert white.shape == (50, 71)
    assert white.mean() == pytest.approx(0, abs=1e-12)
    assert white.var() == pytest.approx(1)


def test_whitening_ignores_contrast_and_luminance():
    image = _pink((40, 40))
    np.testing.assert_allclose(whiten(5 * image + 100), whiten(image), atol=1e-9)


def test_photographs_are_much_whiter_afterwards():
    entry = registry.entries()["natural-patches"]
    for name, white in zip(("china", "flower"), natural_patches.images(entry, "photographs", None), strict=True):
        before = _radial_slope(np.log1p(load_sample_image(f"{name}.jpg").mean(axis=2)))
        assert before < -0.8
        assert abs(_radial_slope(white)) < 0.5


# --------------------------------------------------------------------------------------------------------- patches


def test_sizes_dims_and_names(patches):
    assert [patches[split].sizes["presentation"] for split in patches] == [200, 40, 40]
    for split, data in patches.items():
        assert data["image"].dims == ("presentation", "row", "column")
        assert data["image"].shape[1:] == (8, 8)
        assert data["image"].dtype == np.float32
        assert set(data["split"].values) == {split}
        assert set(data["object_name"].values) == {"photographs-0", "photographs-1"}
    assert patches["train"].attrs["source"] == "photographs"


def test_every_patch_has_mean_0_and_variance_1(patches):
    for data in patches.values():
        values = data["image"].values.astype(np.float64)
        np.testing.assert_allclose(values.mean(axis=(1, 2)), 0, atol=1e-6)
        np.testing.assert_allclose(values.var(axis=(1, 2)), 1, atol=1e-5)


def test_values_lie_in_the_stated_range(patches):
    for data in patches.values():
        low, high = data["image"].attrs["value_range"]
        assert (low, high) == (-8.0, 8.0)
        assert low < float(data["image"].min()) < -1
        assert 1 < float(data["image"].max()) < high


def test_the_range_holds_the_most_extreme_patch(monkeypatch):
    # One bright pixel on grey: after normalisation it has the largest value that a patch can have.
    image = np.zeros((60, 60))
    image[::4, ::4] = 1
    monkeypatch.setattr(natural_patches, "images", lambda *_: [image, image])
    values = datasets.load("natural-patches", source="photographs", size=4, count=20)["image"].values
    np.testing.assert_allclose(values.max(axis=(1, 2)), np.sqrt(15), rtol=1e-6)


def test_a_flat_patch_is_zero():
    values, _ = cut([np.full((60, 60), 7.0)], "train", size=4, count=3, seed=0)
    np.testing.assert_array_equal(values, 0)


def test_patches_are_the_same_for_the_same_seed(patches):
    again = datasets.load("natural-patches", "train", source="photographs", size=8, count=200, seed=0)
    assert again.identical(patches["train"])
    other = datasets.load("natural-patches", "train", source="photographs", size=8, count=200, seed=1)
    assert not np.array_equal(other["image"], patches["train"]["image"])


def test_joined_splits_are_the_splits_one_after_another(patches):
    both = datasets.load("natural-patches", "train+validation", source="photographs", size=8, count=200)
    expected = np.concatenate([patches[split]["image"].values for split in ("train", "validation")])
    np.testing.assert_array_equal(both["image"], expected)
    assert both["split"].values.tolist() == ["train"] * 200 + ["validation"] * 40
    assert len(set(both["stimulus_id"].values)) == 240


def test_limit_takes_some_of_the_patches(patches):
    some = datasets.load("natural-patches", "test", source="photographs", size=8, count=200, limit=11)
    assert some.sizes["presentation"] == 11
    assert set(some["stimulus_id"].values) < set(patches["test"]["stimulus_id"].values)


def _positions(part, axis, count=3000, size=8):
    """Return where patches were cut, told from their curvature: the image is the square of the coordinate."""
    height, width = (100, 200)
    coordinate = np.arange(width if axis == 1 else height, dtype=float) ** 2
    image = np.broadcast_to(coordinate if axis == 1 else coordinate[:, None], (height, width))
    values, _ = cut([image], part, size=size, count=count, seed=0)
    profile = values.astype(np.float64).mean(axis=2 - axis)  # the other axis is constant
    quadratic, linear, _ = np.polyfit(np.arange(size), profile.T, 2)
    start = linear / quadratic / 2  # (x0 + i)^2 = i^2 + 2 x0 i + x0^2
    assert np.abs(start - np.round(start)).max() < 0.2
    return np.round(start).astype(int)


def test_the_splits_share_no_column_and_use_all_of_theirs():
    found = {part: _positions(part, axis=1) for part in ("train", "validation", "test")}
    spans = {part: (start.min(), start.max() + 8) for part, start in found.items()}
    # 70, 10 and 20 % of 200 columns, without the 4 at the rims that the filter has spoilt.
    assert spans == {"train": (4, 140), "validation": (140, 160), "test": (160, 196)}


def test_rows_reach_from_rim_to_rim():
    start = _positions("train", axis=0)
    assert (start.min(), start.max() + 8) == (4, 96)
    counts = np.bincount(start - 4, minlength=85)
    assert counts.min() > 0
    assert counts.max() < 3 * counts.mean()


def test_every_split_draws_positions_of_its_own(patches):
    assert not np.array_equal(patches["validation"]["label"], patches["test"]["label"])
    assert not np.array_equal(patches["train"]["label"][:40], patches["test"]["label"])


def test_patches_say_which_image_they_are_from():
    whole = [np.broadcast_to(sign * np.arange(60.0), (60, 60)) for sign in (1, -1)]
    values, which = cut(whole, "train", size=4, count=50, seed=0)
    rising = values[:, 0, -1] > values[:, 0, 0]
    np.testing.assert_array_equal(rising, which == 0)
    assert 10 < which.sum() < 40


# ---------------------------------------------------------------------------------------------- sources and errors


def test_patches_that_do_not_fit_their_band():
    with pytest.raises(DataError, match=r"^natural-patches: patches of 100 pixels do not fit a band of 64 pixels$"):
        datasets.load("natural-patches", "validation", source="photographs", size=100, count=5)


@pytest.mark.parametrize(("options", "least"), [({"size": 1}, 2), ({"count": 0}, 1), ({"seed": -1}, 0)])
def test_settings_out_of_bounds(options, least):
    with pytest.raises(ConfigError, match=f"input should be greater than or equal to {least}$"):
        datasets.load("natural-patches", source="photographs", **options)


@pytest.mark.parametrize("wrong", [0, -1, 4.0, "4", True, float("nan")])
@pytest.mark.parametrize("name", ["size", "count"])
def test_patches_that_cannot_be_cut(name, wrong):
    with pytest.raises(ConfigError, match=f"^{name} must be a whole number"):
        cut([np.eye(60)], "train", **{"size": 4, "count": 5, "seed": 0, name: wrong})


def test_words_and_images_that_make_no_patches():
    with pytest.raises(ConfigError, match="unknown split 'tset'; did you mean 'test'"):
        cut([np.eye(60)], "tset", size=4, count=5, seed=0)
    with pytest.raises(ConfigError, match="unknown source 'photos'"):
        natural_patches.images(registry.entries()["natural-patches"], "photos", None)
    for wrong in (np.full((8, 8), np.nan), np.zeros((2, 8, 8)), np.full((8, 8), "a")):
        with pytest.raises(DataError, match="to be whitened must be"):
            natural_patches.whiten(wrong)


def test_an_unknown_source():
    with pytest.raises(
        ConfigError, match=r"'source' is 'photos', but .*'photographs'.*; did you mean 'photographs'\?$"
    ):
        datasets.load("natural-patches", source="photos")


def test_the_photographs_are_those_of_the_registry():
    total = hashlib.sha256()
    for name in ("china", "flower"):
        total.update(load_sample_image(f"{name}.jpg").tobytes())
    expected = {"word": "natural-patches", "source": "photographs", "sha256": total.hexdigest()}
    assert NaturalPatches(source="photographs").content() == expected


def _key(**settings):
    dataset = NaturalPatches(**settings)
    return digest({**dataset.identity(), "content": dataset.content()})


def test_the_key_follows_what_changes_the_patches(monkeypatch):
    monkeypatch.setattr(files, "search_folders", lambda root=None: [])
    plain = _key(source="photographs")
    assert plain == _key(source="auto")
    assert plain == _key(source="auto", fit_on="train+validation")
    others = [_key(**{name: value}) for name, value in {"size": 12, "count": 9, "seed": 1, "limit": 5}.items()]
    assert len({plain, *others, _key(source="olshausen")}) == 6


def test_changed_photographs_are_refused(monkeypatch):
    changed = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    monkeypatch.setattr("sklearn.datasets.load_sample_image", lambda name: changed)
    with pytest.raises(DataError):
        datasets.load("natural-patches", source="photographs", size=4, count=5)


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Ten small scenes under the name of Olshausen and Field's file."""
    values = np.stack([_pink((64, 80), seed) for seed in range(10)]).astype(np.float32)
    name = registry.entries()["natural-patches"].files[0].name
    np.save(tmp_path / name, values)
    checksum = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    real = registry.entries()["natural-patches"]
    members = (registry.DataFile(name, {"": checksum}),)
    entry = registry.Entry("natural-patches", "t", "l", "c", "olshausen", members, (), None, None, real.extra)
    monkeypatch.setattr(registry, "entries", lambda: {"natural-patches": entry})
    return tmp_path


def test_auto_takes_the_scenes_if_they_are_at_hand(scenes, tmp_path):
    data = datasets.load("natural-patches", root=scenes, size=4, count=300)
    assert data.attrs["source"] == "olshausen"
    assert len(set(data["object_name"].values)) == 10
    assert NaturalPatches().content(scenes)["source"] == "olshausen"
    with pytest.warns(UserWarning, match="Field, olshausen_field_1996.*, are not at hand, so patches are cut from two"):
        photographs = datasets.load("natural-patches", root=tmp_path / "elsewhere", size=4, count=3)
    assert photographs.attrs["source"] == "photographs"
    marks = [NaturalPatches().content(root)["sha256"] for root in (scenes, tmp_path / "elsewhere")]
    assert marks[0] != marks[1]


def test_scenes_that_are_asked_for_and_missing(tmp_path):
    with pytest.raises(DataError, match="olshausen_field_1996"):
        datasets.load("natural-patches", root=tmp_path, source="olshausen", size=4, count=3)


def test_real_scenes():
    entry = registry.entries()["natural-patches"]
    if not files.find(entry, entry.files[0]):
        pytest.skip("the scenes of Olshausen and Field are not at hand")
    data = datasets.load("natural-patches", "test", source="olshausen", size=12, count=100)
    np.testing.assert_allclose(data["image"].values.var(axis=(1, 2)), 1, atol=1e-4)
    for scene in natural_patches.images(entry, "olshausen", None)[:2]:
        assert scene.shape == (512, 512)
        assert abs(_radial_slope(scene, 0.05)) < 0.5
