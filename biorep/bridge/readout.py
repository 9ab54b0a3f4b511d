"""Linear softmax readouts, trained on a frozen representation.

The features are centred and divided by one number, the root mean square of all of them, before the weights are
fitted, and weights and bias are then converted back: the readout is an affine map of the responses. So the same
penalty means the same for every network, whatever the scale of its code.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import model_validator
from torch import Tensor, nn

from biorep import rng
from biorep.config import setting
from biorep.context import RunContext, undisturbed
from biorep.contracts import FITTING, Code, Column, Given, Images, Measure, Need, Recipe, State
from biorep.errors import ConfigError, DataError
from biorep.networks.base import check_same_state, readout_dataset, set_report, state_digest
from biorep.nn import gate
from biorep.nn.loss import Forward
from biorep.nn.schedule import Milestones, Schedule
from biorep.nn.training import Training
from biorep.schema import (
    check_finite,
    in_order,
    label_names,
    labels_among,
    labels_of,
    learnt_array,
    require_disjoint,
    require_splits,
    require_variables,
    responses_of,
)
from biorep.words import checked

#: Weights (class, neuroid), bias (class,), training report, warnings.
Fit = tuple[np.ndarray, np.ndarray, dict[str, Any], list[str]]


class Readout(Measure):
    """How to train the readout of a network."""

    standard: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    on_device: ClassVar[bool] = True
    versions: ClassVar[dict[str, int]] = {"readout": 2, "training": 1}
    columns: ClassVar[tuple[Column, ...]] = (Column("accuracy", "test accuracy", 3, "share of all test images"),)
    apart: ClassVar[tuple[str, ...]] = (
        "readout_weights",
        "readout_bias",
        "fitted_stimulus_id",
        "class",
        "neuroid_id",
    )

    kind: Literal["readout"] = "readout"
    source: Literal["auto", "trained", "own", "assignment", "proportion", "shares"] = setting(
        "auto",
        description="own: the output layer that a backprop network has learnt; auto: own if there is one; assignment: "
        "each neuroid votes for the class that it answers most to (Diehl & Cook 2015); proportion: so, weighted by the "
        "share that class has of the neuroid's answers (Hazan et al. 2018); shares: for every class with its share",
    )
    images: int | None = setting(
        None, ge=1, neutral=None, description="fit to so many of the training images, a fixed choice; null: to all"
    )
    optimiser: Literal["lbfgs", "adam"] = setting(
        "lbfgs", description="lbfgs: to the optimum, whole training set; adam: mini-batches, for `epochs`"
    )
    loss: Literal["cross-entropy", "squared-hinge"] = setting(
        "cross-entropy", description="squared-hinge: one class against the rest, targets -1 and 1 (lbfgs only)"
    )
    penalty: float = setting(1e-4, ge=0, description="L2 penalty: penalty * sum(weights^2) is added to the mean loss")
    tolerance: float = setting(1e-5, gt=0, description="lbfgs: largest gradient at the optimum")
    max_iterations: int = setting(500, ge=1, description="lbfgs: stop here at the latest")
    epochs: int = setting(100, ge=1, description="adam: passes over the training set")
    batch_size: int = setting(1000, ge=1, description="adam: presentations per update")
    learning_rate: float = setting(1e-3, gt=0, description="adam: learning rate in the first epoch")
    milestones: Milestones = setting({}, description="adam: epoch (from 0) -> learning rate from then on")

    @model_validator(mode="after")
    def _consistent(self) -> Readout:
        if self.optimiser == "adam" and self.loss != "cross-entropy":
            raise ValueError(f"loss '{self.loss}' needs optimiser 'lbfgs'; adam minimises the cross-entropy")
        return self

    def needs(self, recipe: Recipe) -> Mapping[str, Need]:
        """Return the responses to fit and to score, and the output layer of a network that has one."""
        if self.source == "own" and not recipe.network.has_readout:
            raise ConfigError(f"source is 'own', but '{recipe.network.word}' learns no classes; use 'trained'")
        fit_on = recipe.dataset.fit_on
        parts: dict[str, Need] = {"train": Code(fit_on, images=self.images), "test": Code("test")}
        if fit_on == "train":
            parts["validation"] = Code("validation")
        if self.source == "own" or (self.source == "auto" and recipe.network.has_readout):
            parts |= {"state": State(), "learnt": Images(fit_on)}
        return parts

    def make(self, given: Given) -> xr.Dataset:
        """Fit the readout, or take the network's own, and score it."""
        train = given["train"]
        if given.has("state"):
            state = given["state"]
            fitted = state[["readout_weights", "readout_bias"]]
            # All that the network has learnt from, however many of them the training accuracy is taken over.
            fitted["fitted_stimulus_id"] = ("fitted", given["learnt"]["stimulus_id"].values)
            fitted.attrs = {"neuroids": state.sizes["neuroid"], "state": state_digest(state)}
        else:
            fitted = self.fit(train, seed=given.seed, context=given.context)
        correct = score(fitted, given["test"])
        scores: dict[Hashable, float] = {"test_accuracy": float(correct.mean())}
        scores["train_accuracy"] = float(score(fitted, train, allow_seen=True).mean())
        if given.has("validation"):
            scores["validation_accuracy"] = float(score(fitted, given["validation"]).mean())
        stimuli = given["test"]["stimulus_id"]
        result = fitted.assign({"correct": correct.variable, **scores}).assign_coords(stimulus_id=stimuli)
        for name in scores:
            part = str(name).removesuffix("_accuracy")
            result[name].attrs.update(long_name=f"share of the {part} images classified correctly", units="1")
        return result

    def numbers(self, result: xr.DataTree) -> dict[str, float]:
        """Return the accuracy on test images."""
        return {"accuracy": float(result["test_accuracy"])}

    @undisturbed()
    def fit(self, representation: xr.Dataset, *, seed: int = 0, context: RunContext | None = None) -> xr.Dataset:
        """Fit the readout to a representation of the training set.

        Parameters
        ----------
        representation : xr.Dataset
            ``response(presentation, neuroid)`` with ``label(presentation)``; a dim `repeat` is flattened.
        seed : int
            Seed of the shuffles (adam); the weights start at zero.
        context : RunContext, optional

        Returns
        -------
        xr.Dataset
            ``readout_weights(class, neuroid)`` and ``readout_bias(class)`` of the raw responses, and
            ``fitted_stimulus_id(fitted)``.

        Raises
        ------
        SplitError
            If the representation holds presentations of the test split.
        """
        rng.check_seed(seed)
        wanted = {"response": (), "label": (), "split": ("presentation",), "stimulus_id": ("presentation",)}
        require_variables(representation, wanted, "a representation of images of the split 'train'")
        require_splits(representation, FITTING, "training of a readout")
        features, labels = stacked(representation)
        classes = label_names(representation)
        if self.source in VOTES:
            return _of(representation, votes(features, labels, classes, VOTES[self.source]))
        if len(np.unique(labels)) < 2:
            raise DataError("a readout needs at least two classes among the training presentations")
        mean = features.mean(0, dtype=np.float64).astype(np.float32)
        centred = features - mean
        if not (features != features[0]).any():
            raise DataError("all responses are equal: the network does not tell any two images apart")
        largest = float(np.abs(centred).max())
        if not 1e-15 < largest < 1e15:
            raise DataError(f"responses vary by {largest:.0e} about the mean, beyond what 32-bit numbers bear: rescale")
        scale = float(np.sqrt(np.mean(np.square(centred, dtype=np.float32), dtype=np.float64)))
        centred /= np.float32(scale)
        solve = self._lbfgs if self.optimiser == "lbfgs" else self._adam
        weights, bias, report, warnings = solve(centred, labels, len(classes), seed, RunContext.of(context))
        raw = weights / scale
        result = _of(representation, readout_dataset(raw, bias - raw @ mean.astype(np.float64), classes))
        result.attrs["neuroids"] = features.shape[1]
        set_report(result, report, warnings)
        return result

    def _lbfgs(self, features: np.ndarray, labels: np.ndarray, classes: int, seed: int, context: RunContext) -> Fit:
        """Minimise the penalised mean loss over the whole training set with torch's L-BFGS."""
        device = context.torch_device()
        x, y = torch.as_tensor(features).to(device), torch.as_tensor(labels).to(device)
        weights = torch.zeros(classes, x.shape[1], device=device, requires_grad=True)
        bias = torch.zeros(classes, device=device, requires_grad=True)
        solver = torch.optim.LBFGS(
            [weights, bias],
            max_iter=self.max_iterations,
            history_size=20,
            tolerance_grad=self.tolerance,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            solver.zero_grad()
            loss = mean_loss(x @ weights.T + bias, y, self.loss) + self.penalty * weights.square().sum()
            loss.backward()
            return loss

        solver.step(objective)
        loss = float(objective().detach())
        gradient = max(float(part.grad.abs().max()) for part in (weights, bias) if part.grad is not None)
        steps = int(solver.state[weights]["n_iter"])
        report = {"iterations": steps, "loss": loss, "largest_gradient": gradient}
        warnings = []
        # Float32 sums leave a gradient of this size; what matters is a solver that was stopped well before.
        if steps >= self.max_iterations and gradient > 100 * self.tolerance:
            warnings.append(
                f"the readout stopped after {steps} iterations with a gradient of {gradient:.1e}, above its tolerance "
                f"of {self.tolerance:.0e}. Raise readout.max_iterations, or readout.penalty."
            )
        return weights.detach().cpu().double().numpy(), bias.detach().cpu().double().numpy(), report, warnings

    def _adam(self, features: np.ndarray, labels: np.ndarray, classes: int, seed: int, context: RunContext) -> Fit:
        device = context.torch_device()
        module = nn.Linear(features.shape[1], classes)
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
        module.to(device)
        x, y = torch.as_tensor(features).to(device), torch.as_tensor(labels).to(device)
        schedule = Schedule(self.epochs, self.batch_size, self.learning_rate, self.milestones)
        penalties = [_Ridge(self.penalty)] if self.penalty else []
        training = Training(module, x, y, schedule=schedule, seed=seed, name="readout", penalties=penalties)
        history = training.run(context)
        report = {"epochs": self.epochs, "loss": history["loss"][-1]}
        return module.weight.detach().cpu().double().numpy(), module.bias.detach().cpu().double().numpy(), report, []


#: Rules of `votes`: share of a neuroid's answers and, where only voters count, which these are -> weights.
VOTES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "assignment": lambda share, voter: voter,
    "proportion": lambda share, voter: voter * share,
    "shares": lambda share, voter: share,
}


def votes(
    features: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    rule: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> xr.Dataset:
    """Let each neuroid vote by its mean responses to the classes; a neuroid without response has no vote.

    A linear readout without bias. ``assignment`` (Diehl & Cook 2015, section 2.6): a neuroid votes for the class that
    it answers most to, and a logit is the mean response of the voters. ``proportion`` (proportion weighting of Hazan et
    al. 2018): it is the mean of their responses times the share that the class has of the sum of a voter's mean
    responses. ``shares``, a rule of our own: each neuroid votes for every class by that share, and a logit is the sum.
    """
    mean = np.stack(
        [features[labels == c].mean(0) if (labels == c).any() else 0 * features[0] for c in range(len(classes))]
    )
    best = (mean.argmax(0) == np.arange(len(classes))[:, None]) & (mean.max(0) > 0)
    voters = best.sum(1)
    weights = rule(mean / np.where(mean.sum(0) > 0, mean.sum(0), 1), best / np.maximum(voters, 1)[:, None])
    result = readout_dataset(weights, np.zeros(len(classes)), classes)
    result.attrs["neuroids"] = features.shape[1]
    warnings = [f"no neuroid answers most to class '{classes[c]}'" for c in np.flatnonzero(voters == 0)]
    set_report(result, {"fewest_voters": int(voters.min()), "most_voters": int(voters.max())}, warnings)
    return result


def _of(representation: xr.Dataset, readout: xr.Dataset) -> xr.Dataset:
    """Return a readout with what it was fitted to: stimuli, neuroids, layer and quantity."""
    readout["fitted_stimulus_id"] = fitted_stimuli(representation)
    if "neuroid_id" in representation.coords:
        readout = readout.assign_coords(neuroid_id=representation["neuroid_id"].variable)
    names = ("layer", "quantity", "state")
    return readout.assign_attrs({name: representation.attrs[name] for name in names if name in representation.attrs})


def fitted_stimuli(representation: xr.Dataset) -> xr.Variable:
    """Return the stimuli of a representation, once each."""
    stimuli = np.unique(representation["stimulus_id"].values)
    return xr.Variable("fitted", stimuli, {"long_name": "stimuli that the readout was fitted to", "units": "1"})


@checked
def mean_loss(logits: Tensor, labels: Tensor, loss: Literal["cross-entropy", "squared-hinge"]) -> Tensor:
    """Return the mean loss of logits (sample, class): softmax cross-entropy, or ``sum_c max(0, 1 - t_c z_c)^2``."""
    logits = gate.numbers(logits, "logits")
    labels = gate.classes(labels, *logits.shape)
    if loss == "cross-entropy":
        return nn.functional.cross_entropy(logits, labels)
    targets = 2.0 * nn.functional.one_hot(labels, logits.shape[1]) - 1
    return (1 - targets * logits).clamp_min(0).square().sum(1).mean()


class _Ridge:
    """Sum of squares of the weights of a linear readout, its bias left out."""

    word, needs_input_gradient = "ridge", False

    def __init__(self, strength: float):
        self.strength = strength

    def __repr__(self) -> str:
        return f"_Ridge({self.strength})"

    def prepare(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> None:
        """Nothing to prepare."""

    def after_step(self, module: nn.Module, step: int, *, ends_epoch: bool) -> None:
        """Nothing to constrain."""

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        assert isinstance(forward.module, nn.Linear)
        return forward.module.weight.square().sum()


def stacked(representation: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return features (sample, neuroid) float32 and labels (sample,); repeats become samples of their own."""
    response = responses_of(representation, mean=False)
    labels = np.tile(labels_of(representation), response.sizes.get("repeat", 1))
    with np.errstate(over="ignore"):
        features = response.values.reshape(-1, response.sizes["neuroid"]).astype(np.float32)
    check_finite(features, "response as 32-bit number")
    return features, labels


def predict(readout: xr.Dataset, representation: xr.Dataset) -> np.ndarray:
    """Return the predicted class of each presentation; with repeats, of the mean logits over them.

    Raises
    ------
    DataError
        If the responses are of other neuroids, or of another layer or quantity, than those that the readout reads.
    NumericalError
        If a response is NaN or infinite.
    """
    weights, bias, _ = arrays_of(readout)
    response = responses_of(representation)
    if response.sizes["neuroid"] != weights.shape[1]:
        raise DataError(f"the readout reads {weights.shape[1]} neuroids, the responses are {response.sizes['neuroid']}")
    if "neuroid_id" in readout.coords:
        response = in_order(response, readout["neuroid_id"].values)
    for name in ("layer", "quantity"):
        if (one := readout.attrs.get(name)) != (other := representation.attrs.get(name)) and one and other:
            raise DataError(f"the readout was fitted to the {name} '{one}', and these are responses of '{other}'")
    check_same_state(readout, representation.attrs.get("state"), "the readout was fitted to responses")
    return np.asarray((response.values @ weights.T + bias).argmax(1))


def arrays_of(readout: xr.Dataset) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return weights (class, neuroid) and bias (class,) of a readout, and the names of its classes.

    Raises
    ------
    DataError
        If it is no readout, or its classes have no names of their own.
    NumericalError
        If a value is NaN or infinite.
    """
    require_variables(readout, {"readout_weights": (), "readout_bias": (), "class": ("class",)}, "a readout")
    classes = [str(name) for name in readout["class"].values]
    if len(set(classes)) < len(classes):
        raise DataError(f"the classes of a readout need different names, got {', '.join(classes)}")
    weights = learnt_array(readout, "readout_weights", ("class", "neuroid"))
    return weights, learnt_array(readout, "readout_bias", ("class",)), classes


def score(readout: xr.Dataset, representation: xr.Dataset, *, allow_seen: bool = False) -> xr.DataArray:
    """Return whether each presentation is classified correctly, ``correct(presentation)`` as 0 and 1.

    Parameters
    ----------
    readout, representation : xr.Dataset
    allow_seen : bool
        Permit stimuli that the readout was fitted to, to measure the training accuracy.

    Raises
    ------
    SplitError
        If a stimulus was used for fitting and `allow_seen` is not set.
    DataError, NumericalError
        See `predict`; and if a label is of a class that the readout does not know. Classes are matched by name.
    """
    require_variables(representation, {"stimulus_id": ("presentation",)}, "a representation")
    _, _, classes = arrays_of(readout)
    if not allow_seen and "fitted_stimulus_id" in readout:
        seen = readout["fitted_stimulus_id"].values
        remedy = ", or pass allow_seen=True to measure the training accuracy"
        require_disjoint(representation["stimulus_id"].values, seen, "scoring of a readout", remedy)
    correct = predict(readout, representation) == labels_among(representation, classes)
    return xr.DataArray(
        correct.astype(np.int8),
        dims="presentation",
        coords={"stimulus_id": representation["stimulus_id"]},
        name="correct",
        attrs={"long_name": "1 if classified correctly", "units": "1"},
    )
