"""What functions of tensors refuse, and that numbers of another precision give the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import biorep
from biorep import penalties
from biorep.bridge import Readout, classifier
from biorep.bridge.readout import mean_loss
from biorep.errors import BiorepError, ConfigError, DataError, NumericalError
from biorep.nn.initial import initialise
from biorep.nn.whitening import whiten

GENERATOR = torch.Generator().manual_seed(0)
WEIGHTS = torch.randn(5, 6, generator=GENERATOR, requires_grad=True)
INPUTS = torch.randn(60, 6, generator=GENERATOR, requires_grad=True)
OUTPUTS, LABELS, BASIS = INPUTS @ WEIGHTS.T, torch.arange(60) % 3, torch.eye(5)
#: Functions of rows, of labels and of matrices.
ROWS = {
    "spectral": lambda rows: penalties.spectral_penalty(rows, tau=1),
    "spectral of a basis": lambda rows: penalties.spectral_penalty(rows, BASIS, tau=1),
    "basis": lambda rows: penalties.spectral_penalty(OUTPUTS, rows, tau=1),
    "isometric": lambda rows: penalties.isometric_penalty(rows, INPUTS, LABELS),
    "isometric inputs": lambda rows: penalties.isometric_penalty(OUTPUTS, rows, LABELS),
    "jacobian": lambda rows: penalties.jacobian_penalty(rows, INPUTS),
    "jacobian inputs": lambda rows: penalties.jacobian_penalty(OUTPUTS, rows),
    "holzhausen": lambda rows: penalties.holzhausen_jacobian_penalty(rows, INPUTS),
    "holzhausen inputs": lambda rows: penalties.holzhausen_jacobian_penalty(OUTPUTS, rows),
    "input gradient": lambda rows: penalties.input_gradient_penalty(rows, INPUTS, LABELS),
    "input gradient inputs": lambda rows: penalties.input_gradient_penalty(OUTPUTS, rows, LABELS),
    "loss": lambda rows: mean_loss(rows, LABELS, "squared-hinge"),
}
OF_LABELS = {
    "isometric": lambda labels: penalties.isometric_penalty(OUTPUTS, INPUTS, labels),
    "input gradient": lambda labels: penalties.input_gradient_penalty(OUTPUTS, INPUTS, labels),
    "cross-entropy": lambda labels: mean_loss(OUTPUTS, labels, "cross-entropy"),
    "hinge": lambda labels: mean_loss(OUTPUTS, labels, "squared-hinge"),
}
MATRICES = {
    "parseval": lambda weights: penalties.parseval_penalty(weights),
    "spectral norm": lambda weights: penalties.spectral_norm_penalty(weights),
    "bounds": lambda weights: penalties.bound_singular_values(weights),
}
#: What takes any number of rows.
FEWER = ("spectral", "spectral of a basis", "jacobian", "holzhausen")
NO_ROWS = [None, [[1.0, 2.0]], "rows", OUTPUTS.detach().numpy(), OUTPUTS[0], OUTPUTS[:0], OUTPUTS.long(), OUTPUTS[:7]]


@pytest.mark.parametrize("name", ROWS)
def test_what_are_no_rows_is_an_error_of_biorep(name):
    for value in NO_ROWS:
        whole = isinstance(value, torch.Tensor) and value.is_floating_point() and len(value) == 7
        if (whole and name in FEWER) or (value is None and name == "basis"):
            continue
        with pytest.raises(BiorepError):
            ROWS[name](value)
    if "inputs" not in name:
        with pytest.raises(BiorepError):
            ROWS[name](OUTPUTS[None])


@pytest.mark.parametrize("name", OF_LABELS)
def test_labels_that_are_no_classes_are_an_error_of_biorep(name):
    wrong = [LABELS[:3], LABELS.float(), LABELS > 1, LABELS[:, None], LABELS.numpy(), None]
    for value in wrong if name == "isometric" else [*wrong, LABELS - 1, LABELS + 10]:
        with pytest.raises(ConfigError, match="labels must be"):
            OF_LABELS[name](value)
    assert torch.equal(OF_LABELS[name](LABELS.int()), OF_LABELS[name](LABELS))


@pytest.mark.parametrize("name", MATRICES)
def test_what_are_no_matrices_is_an_error_of_biorep(name):
    for value in ([], None, [OUTPUTS[0]], [OUTPUTS[None]], [OUTPUTS.detach().numpy()], [OUTPUTS.long()]):
        with pytest.raises(ConfigError):
            MATRICES[name](value)
    one, other = WEIGHTS.detach().clone(), WEIGHTS.detach().clone()
    assert MATRICES[name](one) == MATRICES[name]([other])  # one matrix is as good as a list of it
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    "call",
    [
        lambda v: penalties.jacobian_penalty(OUTPUTS, INPUTS, n_proj=v),
        lambda v: penalties.holzhausen_jacobian_penalty(OUTPUTS, INPUTS, n_proj=v),
        lambda v: penalties.spectral_norm_penalty([WEIGHTS], iterations=v),
        lambda v: penalties.spectral_penalty(OUTPUTS, BASIS, tau=v),
        lambda v: penalties.spectral_penalty(OUTPUTS, BASIS, tau=1, alpha=v),
        lambda v: penalties.isometric_penalty(OUTPUTS, INPUTS, LABELS, scale=v),
        lambda v: penalties.bound_singular_values([WEIGHTS.detach().clone()], bound=v),
        lambda v: initialise(torch.nn.Linear(2, 2), "normal", gain=v, seed=0, name="x"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, True])
def test_numbers_that_are_none_are_refused(call, value):
    with pytest.raises(ConfigError, match="must be"):
        call(value)


def test_outputs_of_other_inputs_or_without_a_graph_are_refused():
    with torch.no_grad():
        blind = INPUTS @ WEIGHTS.T
    for outputs in (blind, OUTPUTS.detach(), (WEIGHTS @ WEIGHTS.T)[:, :5]):
        with pytest.raises(ConfigError, match="the outputs were not computed from these inputs"):
            penalties.jacobian_penalty(outputs, INPUTS)
        with pytest.raises(ConfigError, match="the outputs were not computed from these inputs"):
            penalties.holzhausen_jacobian_penalty(outputs, INPUTS)
    with pytest.raises(ConfigError, match=r"inputs.requires_grad_\(True\)"):
        penalties.input_gradient_penalty(OUTPUTS, INPUTS.detach(), LABELS)


def test_what_linear_algebra_cannot_do_is_an_error_of_biorep():
    nothing = torch.full((60, 5), torch.nan)
    for call in (
        lambda: penalties.spectral_penalty(nothing, tau=1),
        lambda: penalties.bound_singular_values([nothing.clone()]),
        lambda: whiten(nothing),
    ):
        with pytest.raises(NumericalError):
            call()
    assert torch.isnan(penalties.spectral_penalty(nothing, BASIS, tau=1))  # a training sees it in its loss


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_precision_of_what_is_given_changes_digits_alone(dtype):
    rounding = {torch.float64: 1e-6, torch.float16: 0.02, torch.bfloat16: 0.1}[dtype]
    for name in ("spectral", "spectral of a basis", "isometric"):
        found = ROWS[name](OUTPUTS.detach().to(dtype))
        assert float(found) == pytest.approx(float(ROWS[name](OUTPUTS.detach())), rel=rounding), name


@pytest.fixture(scope="module")
def joined(digits):
    network = biorep.network("random-features", units=20)
    state = network.fit(digits["train"], seed=0)
    readout = Readout(max_iterations=30).fit(network.encode(state, digits["train"]))
    return network, state, classifier(network, state, readout)


def _with(dataset: xr.Dataset, values: np.ndarray) -> xr.Dataset:
    return dataset.assign(image=(dataset["image"].dims, values, dataset["image"].attrs))


@pytest.mark.parametrize("word", ["random-features", "pixels", "krotov-hopfield", "mlp"])
def test_images_of_any_real_type_are_the_same_images(word, digits):
    few = digits["train"].isel(presentation=slice(100))
    small = {"krotov-hopfield": {"units": 5, "k": 2, "epochs": 1}, "mlp": {"hidden": [5], "epochs": 1}}
    network = biorep.network(word, **small.get(word, {}))
    state = network.fit(few, seed=0)
    wanted = network.encode(state, few)
    for dtype in (np.float64, np.float16, ">f4"):  # sixteenths are exact in each
        other = _with(few, few["image"].values.astype(dtype))
        assert network.fit(other, seed=0).equals(state)
        assert network.encode(state, other).equals(wanted)
    binary = few["image"].values > 0.5
    for dtype in (bool, np.int64, np.uint8):
        assert network.encode(state, _with(few, binary.astype(dtype))).equals(
            network.encode(state, _with(few, binary.astype(np.float32)))
        )
    for wrong in (few["image"].values * 1j, few["image"].values.astype(str), few["image"].values.astype(object)):
        with pytest.raises(DataError, match="images must be real numbers"):
            network.encode(state, _with(few, wrong))
    for wrong in (None, few["image"].values, few["image"], few.isel(presentation=0)):
        with pytest.raises(DataError):
            network.encode(state, wrong)
    assert "label" not in network.encode(state, few.drop_vars("label"))


def test_a_module_takes_any_precision_and_refuses_bytes(joined, digits):
    images = torch.as_tensor(digits["test"]["image"].values[:20])
    for model in (joined[2], joined[0].module(joined[1])):
        for dtype in (torch.float64, torch.float16):
            assert torch.equal(model(images.to(dtype)), model(images))
        for wrong in ((16 * images).byte(), images.numpy(), images.tolist(), images[0, 0], images[0], images[:, :4]):
            with pytest.raises(DataError):
                model(wrong)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "3", None])
def test_a_seed_that_is_none_is_refused_where_nothing_is_drawn_too(seed, joined, digits):
    network, state, model = joined
    calls = [
        lambda: biorep.network("pixels").fit(digits["train"], seed=seed),
        lambda: network.encode(state, digits["test"], seed=seed),
        lambda: Readout().fit(network.encode(state, digits["train"]), seed=seed),
        lambda: biorep.robustness.evaluate(model, digits["test"], linf=[], l2=[], noise=[], seed=seed),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="seed must be a non-negative integer"):
            call()
    assert network.fit(digits["train"], seed=2**200)["weights"].shape == (20, 64)
