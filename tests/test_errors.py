"""The wording of errors: what is wrong, where, what is allowed and what to do."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

import biorep
from biorep import datasets, errors, schema
from biorep.context import RunContext, resolve_device
from biorep.datasets import registry
from biorep.errors import BiorepError, ConfigError, DataError, NumericalError, SplitError, choose, did_you_mean
from biorep.networks.controls.random_features import RandomFeatures
from biorep.tables import DATASETS

KNOWN = "cifar10, digits, fashion-mnist, gratings, mnist, natural-patches"


def _message(error, function, *arguments, **options):
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------- helpers


@pytest.mark.parametrize(
    ("word", "options", "answer"),
    [
        ("mnits", ["mnist", "digits"], "; did you mean 'mnist'?"),
        ("MNIST", ["mnist", "digits"], "; did you mean 'mnist'?"),
        ("natural_patches", ["natural-patches"], "; did you mean 'natural-patches'?"),
        ("batch-size", ["batch_size", "rate"], "; did you mean 'batch_size'?"),
        ("Cifar10", ["CIFAR10"], "; did you mean 'CIFAR10'?"),
        (0.5, ["0.5", "1"], "; did you mean '0.5'?"),
        ("zzz", ["mnist"], ""),
        ("mnist", [], ""),
        (None, ["mnist"], ""),
    ],
)
def test_did_you_mean(word, options, answer):
    assert did_you_mean(word, options) == answer


def test_choose_returns_a_known_word():
    assert choose("b", {"a": 1, "b": 2}, "letter") == "b"


def test_choose_lists_all_options_in_order():
    message = _message(ConfigError, choose, "gama", ["gamma", "beta", "alpha"], "letter")
    assert message == "unknown letter 'gama'; did you mean 'gamma'? Available: alpha, beta, gamma."


@pytest.mark.parametrize("word", [None, 3, ["a"], {"a": 1}])
def test_choose_refuses_what_is_no_word(word):
    assert _message(ConfigError, choose, word, ["a"], "letter").startswith(f"unknown letter {word!r}")


def test_choose_without_a_suggestion_is_two_sentences():
    assert _message(ConfigError, choose, "zzz", ["a", "b"], "letter") == "unknown letter 'zzz'. Available: a, b."


def test_all_errors_for_users_have_one_base():
    names = ["ConfigError", "DataError", "SplitError", "NumericalError", "StoreError"]
    assert all(issubclass(getattr(errors, name), BiorepError) for name in names)
    assert biorep.BiorepError is BiorepError


# -------------------------------------------------------------------------------------------------- unknown words


def test_unknown_dataset():
    expected = f"unknown dataset 'mnits'; did you mean 'mnist'? Available: {KNOWN}."
    assert _message(ConfigError, datasets.load, "mnits") == expected


def test_unknown_split():
    message = _message(ConfigError, datasets.load, "digits", "tset")
    assert message == (
        "unknown split 'tset'; did you mean 'test'? Available: test, train, train+validation, validation."
    )


def test_unknown_network():
    message = _message(ConfigError, biorep.network, "krotov-hopfeld")
    assert message.startswith("unknown network 'krotov-hopfeld'; did you mean 'krotov-hopfield'? Available: ")
    assert "krotov-hopfield, mlp, pixels, random-features" in message


def test_underscores_in_the_name_of_a_network():
    assert "did you mean 'random-features'?" in _message(ConfigError, biorep.network, "random_features")


def test_unknown_setting_of_a_network():
    message = _message(ConfigError, biorep.network, "random-features", unitz=3)
    assert message == (
        "random-features: unknown key 'unitz' (value 3); did you mean 'units'? "
        "Allowed here: input_norm, kind, power, units."
    )


def test_wrong_type_of_a_setting():
    message = _message(ConfigError, biorep.network, "krotov-hopfield", units="many")
    assert message.startswith("krotov-hopfield: 'units' is 'many', but input should be a valid integer")


def test_wrong_value_of_a_setting():
    message = _message(ConfigError, biorep.network, "krotov-hopfield", k=1)
    assert message == "krotov-hopfield: 'k' is 1, but input should be greater than or equal to 2"


def test_wrong_word_in_a_setting():
    message = _message(ConfigError, biorep.network, "krotov-hopfield", delta_mode="kht")
    assert message.endswith("but input should be 'kth' or 'all-losers'; did you mean 'kth'?")


def test_every_wrong_setting_is_named():
    message = _message(ConfigError, biorep.network, "krotov-hopfield", unit=3, learning_rate=-1)
    assert len(message.splitlines()) == 2
    assert "unknown key 'unit'" in message
    assert "'learning_rate' is -1" in message


def test_unknown_attribute_of_the_package():
    with pytest.raises(AttributeError, match=r"^biorep has no 'netwrk'; did you mean 'network'\?$"):
        _ = biorep.netwrk
    with pytest.raises(AttributeError, match=r"^biorep has no 'zzzzz'$"):
        _ = biorep.zzzzz
    assert not hasattr(biorep, "dataset")


# ---------------------------------------------------------------------------------------------------------- data


def test_a_missing_file_names_forms_checksums_folders_and_remedy(tmp_path):
    message = _message(DataError, datasets.load, "mnist", root=tmp_path)
    file = registry.entries()["mnist"].files[0]
    assert file.name == "train-images-idx3-ubyte"
    lines = message.splitlines()
    assert lines[0].startswith("data set 'mnist': the file 'train-images-idx3-ubyte' was not found.")
    assert f"  train-images-idx3-ubyte  sha256 {file.checksums['']}" in lines
    assert f"  train-images-idx3-ubyte.gz  sha256 {file.checksums['.gz']}" in lines
    assert f"  {tmp_path / 'mnist'}" in lines
    assert "A folder was named, so nothing was downloaded." in lines[-1]
    assert lines[-1].endswith("or name the folder above with BIOREP_DATA=FOLDER.")


def test_a_path_that_does_not_exist_explains_the_layout(tmp_path):
    path = tmp_path / "mine.npz"
    for function in (datasets.load, lambda name: DATASETS.parse({"name": name}).content()):
        message = _message(DataError, function, str(path))
        assert message.startswith(f"{path} does not exist. An .npz or netCDF file holds 'images'")
        assert "one sub-folder of images per class" in message


def test_images_out_of_their_range():
    message = _message(DataError, datasets.from_arrays, np.full((2, 3, 3), 200.0))
    assert message == (
        "images have values from 200 to 200, outside their stated value_range [0, 1]. Rescale them (for 8-bit "
        "images divide by 255) or state the right value_range."
    )


def test_images_that_are_not_finite():
    images = np.zeros((3, 2, 2))
    images[1, 0, 1] = np.nan
    images[2, 1, 1] = -np.inf
    message = _message(NumericalError, datasets.from_arrays, images)
    assert message == "'images' holds 2 values that are NaN or infinite, the first at index (1, 0, 1)"


def test_a_network_that_does_not_accept_the_range_of_the_images():
    class Unsigned(RandomFeatures):
        accepts: ClassVar[tuple[float, float] | None] = (0.0, 1.0)

    patches = datasets.load("natural-patches", size=4, count=10, source="photographs")
    network = Unsigned(units=5)
    expected = (
        "this network accepts images in [0, 1], the dataset 'natural-patches' states [-4, 4]. Rescale the images, "
        "or choose a network that accepts signed values."
    )
    assert _message(DataError, network.fit, patches, seed=0) == expected
    state = RandomFeatures(units=5).fit(patches, seed=0)
    assert _message(DataError, network.encode, state, patches) == expected


@pytest.mark.parametrize("stated", [(-0.5, 1.0), (0.0, 1.5)])
def test_a_range_that_sticks_out_on_one_side(stated):
    data = datasets.from_arrays(np.full((2, 3, 3), 0.5), value_range=stated)
    message = _message(DataError, schema.check_dataset, data, value_range=(0.0, 1.0))
    assert f"accepts images in [0, 1], the dataset 'own' states [{stated[0]:g}, {stated[1]:g}]" in message
    schema.check_dataset(data, value_range=stated)


def test_a_dataset_without_images(tiny):
    message = _message(DataError, schema.check_dataset, tiny.drop_vars("image"))
    assert message.startswith("the dataset has no variable 'image' (it has ")
    assert message.endswith("Make datasets with biorep.datasets.load or biorep.datasets.from_arrays.")


def test_a_dataset_without_a_stated_range(tiny):
    del tiny["image"].attrs["value_range"]
    assert "'image' has no attribute 'value_range'" in _message(DataError, schema.check_dataset, tiny)


def test_an_empty_dataset(tiny):
    message = _message(DataError, schema.check_dataset, tiny.isel(presentation=slice(0)))
    assert "'image' must have a first dim 'presentation' that is not empty, got {'presentation': 0," in message


def test_learning_from_test_images():
    test = datasets.load("digits", "test", limit=7)
    message = _message(SplitError, biorep.network("pixels").fit, test, seed=0)
    assert message == (
        "training of 'pixels' must not see presentations of the split 'test', found 7 of 7. Allowed: train, validation."
    )


def test_testing_with_stimuli_that_were_fitted():
    message = _message(SplitError, schema.require_disjoint, ["b", "a", "c"], ["a", "b", "x"], "accuracy")
    assert message.startswith("accuracy: 2 of 3 stimuli were used for fitting (for example 'a').")
    schema.require_disjoint(["a"], ["b"], "accuracy")


# ------------------------------------------------------------------------------------------------------- devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there(device, tiny):
    expected = f"device '{device}': torch sees no CUDA device here. Use 'cpu' or 'auto'."
    assert _message(ConfigError, resolve_device, device) == expected
    network = biorep.network("pixels")
    state = network.fit(tiny, seed=0)
    assert _message(ConfigError, network.encode, state, tiny, context=RunContext(device=device)) == expected


@pytest.mark.parametrize("device", ["gpu", "CPU", "", "mps"])
def test_an_unknown_device(device):
    message = _message(ConfigError, resolve_device, device)
    assert message == f"device '{device}' is unknown. Allowed: 'auto', 'cpu', 'cuda', 'cuda:<index>'."


def test_devices_that_are_there():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("kind", ["mlp", "krotov-hopfield", "diehl-cook", "sailnet"])
def test_a_device_where_a_context_is_meant_is_refused(kind):
    images = datasets.from_arrays(np.zeros((4, 3, 3)), [0, 1, 0, 1])
    said = _message(ConfigError, biorep.network(kind).fit, images, seed=0, context="cpu")
    assert said == "context must be a RunContext, such as RunContext(device='cpu'), got 'cpu'"
