"""What the public functions of the analyses refuse, in words of biorep: nothing of numpy's or torch's escapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from biorep import datasets, plot
from biorep.errors import BiorepError, NumericalError
from biorep.geometry import within_class_isometry
from biorep.interop import to_brainscore
from biorep.interop.table import response_table
from biorep.robustness import Attack, evaluate, fgsm, median, pgd
from biorep.spectra import StreamedCovariance, eigenspectrum, fit_powerlaw, powerlaw_deviation
from biorep.tuning import fit_gabors, tuning

GENERATOR = np.random.default_rng(0)
SHOWN = datasets.gratings(size=8, orientations=4, frequencies=[0.125, 0.25], phases=3)
IMAGES = datasets.from_arrays(GENERATOR.random((24, 6)), np.arange(24) % 3, split="test")
CODE = GENERATOR.random((24, 5))
WEIGHTS = torch.as_tensor(GENERATOR.standard_normal((6, 3)), dtype=torch.float32)
COORDS = {name: SHOWN[name] for name in ("orientation", "frequency", "phase")}


def represented(values: Any, dims: tuple[str, ...] = ("presentation", "neuroid")) -> xr.Dataset:
    """Responses that are both to gratings and to the images."""
    coords = {name: IMAGES[name] for name in ("stimulus_id", "object_name", "split")} | COORDS
    data = xr.Dataset({"response": (dims, values)}, coords={"neuroid_id": ("neuroid", np.arange(5))})
    return data.assign_coords(coords) if data.sizes["presentation"] == 24 else data


def model(images: Any) -> Any:
    return images.flatten(1) @ WEIGHTS.to(images.dtype)


def attacked(**changes: Any) -> Any:
    whole = {"linf": [0.1], "l2": [], "noise": [], "attacks": ["fgsm"], "images": 24} | changes
    return evaluate(whole.pop("model", model), whole.pop("dataset", IMAGES), **whole)


def step(attack: Any, **changes: Any) -> Any:
    whole = {"model": model, "images": torch.rand(6, 6), "labels": torch.arange(6) % 3, "epsilon": 0.1} | changes
    return attack(whole.pop("model"), whole.pop("images"), whole.pop("labels"), **whole)


#: Functions of responses, each with what it needs beside them.
OF_RESPONSES = {
    "eigenspectrum": eigenspectrum,
    "tuning": tuning,
    "isometry": lambda data: within_class_isometry(data, IMAGES),
    "occupancy": plot.occupancy,
    "response_table": response_table,
    "to_brainscore": lambda data: to_brainscore(data, "never-written.nc"),
}
PLACE = st.tuples(st.integers(0, 23), st.integers(0, 4))


@pytest.mark.parametrize("name", OF_RESPONSES)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(place=PLACE, value=st.sampled_from([np.nan, np.inf, -np.inf]), repeats=st.booleans())
def test_a_response_that_is_no_number_is_refused_with_its_place(name, place, value, repeats):
    values = CODE.copy()
    values[place] = value
    data = represented(values)
    if repeats:
        data = data.assign(response=data["response"].expand_dims("repeat"))
    with pytest.raises(NumericalError, match=rf"'response' holds 1 values.*{place[0]}, {place[1]}\)"):
        OF_RESPONSES[name](data)


@pytest.mark.parametrize("name", OF_RESPONSES)
@pytest.mark.parametrize(
    "wrong",
    [
        None,
        CODE,
        represented(CODE.astype(object)),
        represented(CODE + 1j),
        represented(CODE.astype(str)),
        represented(CODE[:0]),
        represented(CODE).rename(neuroid="cell"),
        represented(CODE).rename(presentation="trial"),
        represented(CODE).expand_dims("seed"),
    ],
)
def test_what_is_no_representation_is_refused(name, wrong):
    with pytest.raises(BiorepError):
        OF_RESPONSES[name](wrong)


@pytest.mark.parametrize("name", ["eigenspectrum", "tuning", "isometry"])
def test_order_of_dims_one_repeat_and_kind_of_number_make_no_difference(name):
    function, plain = OF_RESPONSES[name], represented((CODE * 9).astype(np.int64))
    expected = function(plain.astype(float))
    once = plain.assign(response=plain["response"].expand_dims("repeat"))
    for other in (plain, plain.transpose(), once, once.transpose(), plain.astype(np.uint8).astype(np.float32)):
        xr.testing.assert_allclose(function(other.assign_coords(neuroid=[0, 0, 1, 1, 1])).drop_vars("neuroid",
                                   errors="ignore"), expected, rtol=1e-6)  # fmt: skip


@settings(max_examples=20, deadline=None, derandomize=True)
@given(place=st.integers(0, 99), value=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_an_eigenvalue_that_is_no_number_is_refused_with_its_place(place, value):
    law = 1 / np.arange(1, 101.0)
    law[place] = value
    spectrum = xr.Dataset({"eigenvalue": ("component", law)})
    for function in (fit_powerlaw, powerlaw_deviation):
        if place == 99 and np.isnan(value):  # padding beside longer ones
            assert function(spectrum, first=1, last=80) is not None
        else:
            with pytest.raises(NumericalError, match=rf"'eigenvalue' holds 1 values.*\({place},\)"):
                function(spectrum, first=1, last=80)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(place=st.tuples(st.integers(0, 5), st.integers(0, 5)), value=st.sampled_from([np.nan, np.inf]))
def test_a_pixel_or_logit_that_is_no_number_is_refused_with_its_place(place, value):
    images = torch.full((6, 6), 0.5)
    images[place] = value
    for attack in (fgsm, pgd):
        with pytest.raises(NumericalError, match=rf"images: 1 values.*\({place[0]}, {place[1]}\)"):
            step(attack, images=images)

        def broken(given: Any) -> Any:
            return torch.where(torch.arange(len(given))[:, None] == place[0], torch.nan, model(given))

        with pytest.raises(NumericalError, match=f"NaN for 1 of 6 images, the first is number {place[0]}"):
            step(attack, model=broken)
    data = IMAGES.copy(deep=True)
    data["image"].values[place] = value
    for function in (lambda: attacked(dataset=data), lambda: within_class_isometry(represented(CODE), data)):
        with pytest.raises(NumericalError, match=rf"'image' holds 1 values.*\({place[0]}, {place[1]}\)"):
            function()
    with pytest.raises(NumericalError, match=f"1 critical distances are NaN, the first at index {place[1]}"):
        median(np.where(np.arange(6) == place[1], np.nan, np.arange(6.0)))


def spectrum(**changes: Any) -> xr.Dataset:
    found = eigenspectrum(xr.DataArray(np.random.default_rng(0).random((90, 60)), dims=("presentation", "neuroid")))
    return found.assign(changes)


BARS = xr.DataArray(GENERATOR.random((2, 5, 5)), dims=("neuroid", "row", "column"))
STATE = xr.Dataset({"weights": (("neuroid", "input"), GENERATOR.random((3, 16)))}, attrs={"image_shape": [4, 4]})


def wrong_attack(how: Any) -> Any:
    """Evaluate with an attack of a user's own: (problem, index) -> images."""

    class Own(Attack):
        kind: str = "own"

        def __call__(self, problem: Any, index: Any, epsilon: Any) -> Any:
            return how(problem, index)

    return attacked(attacks=[Own()])


def batch_norm() -> Any:
    return torch.nn.Sequential(torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3)).train()


REFUSED = {
    "ddof bool": lambda: eigenspectrum(represented(CODE), ddof=True),
    "ddof None": lambda: eigenspectrum(represented(CODE), ddof=None),
    "constant responses": lambda: eigenspectrum(represented(CODE * 0 + 1)),
    "one presentation": lambda: eigenspectrum(represented(CODE[:1])),
    "variances overflow": lambda: eigenspectrum(represented(CODE * 1e200)),
    "variances vanish": lambda: eigenspectrum(represented(CODE * 1e-200)),
    "complex eigenvalues": lambda: fit_powerlaw(spectrum(eigenvalue=spectrum().eigenvalue + 0j)),
    "eigenvalues of texts": lambda: fit_powerlaw(spectrum(eigenvalue=spectrum().eigenvalue.astype(str))),
    "rank NaN": lambda: fit_powerlaw(spectrum(numerical_rank=np.nan)),
    "count NaN": lambda: fit_powerlaw(spectrum(n_presentations=np.nan)),
    "count text": lambda: fit_powerlaw(spectrum(n_neuroids="many")),
    "alpha None": lambda: powerlaw_deviation(spectrum(), last=50, alpha=None),
    "alpha text": lambda: powerlaw_deviation(spectrum(), last=50, alpha="1"),
    "anchor bool": lambda: powerlaw_deviation(spectrum(), last=50, anchor=True),
    "rows of a list": lambda: StreamedCovariance(2).add([[1.0, 2.0]]),
    "rows with NaN": lambda: StreamedCovariance(2).add(np.array([[1.0, np.nan]])),
    "no rows": lambda: StreamedCovariance(2).mean(),
    "too few rows": lambda: StreamedCovariance(2).covariance(),
    "width": lambda: StreamedCovariance(2.5),
    "isometry of other images": lambda: within_class_isometry(represented(CODE), IMAGES.isel(presentation=slice(9))),
    "isometry without ids": lambda: within_class_isometry(represented(CODE).drop_vars("stimulus_id"), IMAGES),
    "isometry with None": lambda: within_class_isometry(represented(CODE), None),
    "orientations of texts": lambda: tuning(represented(CODE).assign_coords(
        orientation=("presentation", SHOWN.orientation.values.astype(str)))),
    "NaN orientation": lambda: tuning(represented(CODE).assign_coords(orientation=SHOWN.orientation.where(
        SHOWN.orientation > 0))),
    "fields as array": lambda: fit_gabors(BARS.values),
    "complex fields": lambda: fit_gabors(BARS + 0j),
    "starts": lambda: fit_gabors(BARS, starts=1.5),
    "median of a table": lambda: median(np.zeros((2, 2))),
    "median of None": lambda: median(None),
    "model None": lambda: attacked(model=None),
    "dataset an array": lambda: attacked(dataset=CODE),
    "images 2.5": lambda: attacked(images=2.5),
    "images True": lambda: attacked(images=True),
    "context": lambda: attacked(context="cpu"),
    "linf a number": lambda: attacked(linf=0.1),
    "linf a text": lambda: attacked(linf="0.1"),
    "linf of texts": lambda: attacked(linf=["0.1"]),
    "linf of truths": lambda: attacked(linf=[True]),
    "linf a table": lambda: attacked(linf=[[0.1]]),
    "linf ragged": lambda: attacked(linf=[[0.1], [0.1, 0.2]]),
    "linf infinite": lambda: attacked(linf=[np.inf]),
    "attacks of numbers": lambda: attacked(attacks=[3]),
    "precision 0": lambda: attacked(precision=0),
    "precision NaN": lambda: attacked(precision=np.nan),
    "draws": lambda: attacked(noise=[0.1], noise_draws=1.5),
    "fitted a word": lambda: attacked(fitted="a"),
    "split None": lambda: attacked(split=None),
    "prepare a word": lambda: attacked(prepare="l3"),
    "prepare gives NaN": lambda: attacked(prepare=lambda images: images * torch.nan),
    "prepare drops images": lambda: attacked(prepare=lambda images: images[:3]),
    "object images": lambda: attacked(dataset=IMAGES.assign(image=IMAGES.image.astype(object))),
    "labels of texts": lambda: attacked(dataset=IMAGES.assign(label=IMAGES.label.astype(str))),
    "value_range": lambda: attacked(dataset=IMAGES.assign(image=IMAGES.image.assign_attrs(value_range=(0, 1, 2)))),
    "one output": lambda: attacked(model=lambda images: model(images)[:, :1]),
    "two classes": lambda: attacked(model=lambda images: model(images)[:, :2]),
    "tuple": lambda: attacked(model=lambda images: (model(images), 1)),
    "integer logits": lambda: attacked(model=lambda images: model(images).long()),
    "another width": lambda: attacked(model=torch.nn.Linear(5, 3).eval()),
    "attack gives NaN": lambda: wrong_attack(lambda problem, index: problem.images[index] * torch.nan),
    "attack leaves the box": lambda: wrong_attack(lambda problem, index: problem.images[index] + 9),
    "attack drops images": lambda: wrong_attack(lambda problem, index: problem.images[index][:1]),
    "attack gives arrays": lambda: wrong_attack(lambda problem, index: problem.images[index].numpy()),
    "attack gives nothing": lambda: wrong_attack(lambda problem, index: None),
    "attack gives complex": lambda: wrong_attack(lambda problem, index: problem.images[index] + 0j),
    "epsilon a table": lambda: step(pgd, epsilon=torch.ones(6, 1)),
    "epsilon a text": lambda: step(pgd, epsilon="0.1"),
    "epsilon truths": lambda: step(fgsm, epsilon=torch.ones(6, dtype=torch.bool)),
    "one output, all labels 0": lambda: step(pgd, model=lambda x: model(x)[:, :1], labels=torch.zeros(6).long()),
    "bounds of texts": lambda: step(pgd, bounds=("a", "b")),
    "a single image": lambda: step(pgd, images=torch.tensor(0.5), labels=torch.tensor(0)),
    "start an array": lambda: step(pgd, start=np.zeros((6, 6))),
    "relative_step a text": lambda: step(pgd, relative_step="0.1"),
    "no spectra": lambda: plot.spectrum_lines({}),
    "spectra in a list": lambda: plot.spectrum_lines([spectrum()]),
    "spectra of models": lambda: plot.spectrum_lines({"a": spectrum().expand_dims("model")}),
    "a spectrum with a gap": lambda: plot.spectrum_lines({"a": spectrum(
        eigenvalue=spectrum().eigenvalue.where(spectrum().component != 5))}),
    "no variance": lambda: plot.spectrum_lines({"a": spectrum(total_variance=0.0)}),
    "a group, no tree": lambda: plot.accuracy_curves({"a": [xr.Dataset()]}),
    "no history": lambda: plot.training_curves({"a": [xr.Dataset()]}),
    "a history of texts": lambda: plot.training_curves({"a": xr.Dataset({"loss": ("epoch", ["a"])})}),
    "no spikes": lambda: plot.learning_curves({"a": [xr.Dataset()]}),
    "no recording": lambda: plot.raster(None),
    "no penalties": lambda: plot.strength_curves({}),
    "a shape that is another": lambda: plot.receptive_fields(STATE.assign_attrs(image_shape=[5, 5])),
    "no units": lambda: plot.receptive_fields(STATE.isel(neuroid=[])),
    "count 0": lambda: plot.receptive_fields(STATE, count=0),
    "weights of two networks": lambda: plot.receptive_fields(STATE.expand_dims(seed=2)),
    "NaN weights": lambda: plot.receptive_fields(STATE.where(STATE.weights > 0.5)),
    "no tuning": lambda: plot.tuning_summary(xr.Dataset()),
    "untuned": lambda: plot.tuning_summary(tuning(represented(CODE)), untuned=None),
    "path": lambda: to_brainscore(represented(CODE), None),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_or_drawn_is_refused(case):
    with pytest.raises(BiorepError) as caught:
        REFUSED[case]()
    assert len(str(caught.value).splitlines()) == 1 or "another width" in case  # torch's own words are quoted


def test_an_attack_or_a_model_that_works_in_place_moves_nothing():
    def in_place(problem, index):
        problem.images.add_(0.3).clamp_(0, 1)
        problem.labels.zero_()
        return problem.images[index]

    def copied(problem, index):
        return (problem.images[index] + 0.3).clamp(0, 1)

    assert wrong_attack(in_place).identical(wrong_attack(copied))
    scaled = attacked(model=lambda images: model(images.mul_(0.5)))
    assert scaled.identical(attacked(model=lambda images: model(images * 0.5)))


def test_half_precision_logits_are_attacked_as_others():
    half, single = (attacked(model=lambda x, to=to: model(x).to(to)) for to in (torch.float16, torch.float32))
    np.testing.assert_allclose(half["linf"]["accuracy"], single["linf"]["accuracy"], atol=0.1)


@pytest.mark.parametrize("attack", [pgd, fgsm])
def test_a_module_in_training_mode_is_attacked_as_it_is_used(attack):
    module = batch_norm()
    before = module[0].running_mean.clone()
    images = torch.rand(6, 6)
    found = step(attack, model=module, images=images)
    assert torch.equal(module[0].running_mean, before)
    assert module.training
    assert torch.equal(found, step(attack, model=module.eval(), images=images))


def test_figures_take_what_an_opened_plan_holds():
    """A node of the tree, over seeds, with a run that is not finished."""
    one = spectrum().merge(fit_powerlaw(spectrum()))
    seeds = xr.concat([one, one * np.nan], xr.IndexVariable("seed", [0, 1]), data_vars="all")
    for form in (one, [one], seeds, xr.DataTree(seeds), [xr.DataTree(one)]):
        (line, *_) = plot.spectrum_lines({"a": form}).axes[0].lines
        np.testing.assert_allclose(line.get_ydata(), one["eigenvalue"] / one["total_variance"])
    tree = attacked()
    for form in (tree, [tree, tree], xr.DataTree.from_dict({"linf": tree["linf"].to_dataset().expand_dims(seed=2)})):
        accuracy = plot.accuracy_curves({"a": form}).axes[0].lines[0].get_ydata()
        np.testing.assert_allclose(accuracy, tree["linf"]["accuracy"][0])
