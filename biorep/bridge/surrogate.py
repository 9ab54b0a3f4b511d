"""Expected-rate surrogates: a trained spiking network as a differentiable torch module.

The mean input conductance of each neuron is a linear function of the pixels. A fitted f-I curve turns it into a
drive, and competition shares the spikes of an image out among the neurons::

    g_j = sum_i w_ji x_i                    mean input
    u_j = gain_j g_j - offset_j             log of the rate of neuron j, were it alone
    T   = scale * softplus(logsumexp(u) / width + shift)     spikes of all neurons together
    c_j = T softmax(sharpness u)_j          expected count

`competition: straight-through` gives all spikes of an image to the neuron with the largest u, and takes the gradient of
the soft form. The parameters are fitted to the counts of training images by maximum Poisson likelihood; how faithful
the surrogate is must be measured on images that it was not fitted to (`fidelity`).

Bengio, Y., Léonard, N. & Courville, A. (2013). Estimating or propagating gradients through stochastic neurons.
arXiv:1308.3432.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from biorep import rng
from biorep.bridge.readout import arrays_of, predict
from biorep.config import setting
from biorep.context import RunContext, undisturbed
from biorep.contracts import FITTING, Code, Frozen, Given, Images, Measure, Need, Network, Recipe, Result
from biorep.errors import ConfigError, DataError
from biorep.networks.base import check_same_state, check_state, flat_images, state_digest
from biorep.nn.encoder import Encoder
from biorep.schema import (
    describe,
    in_order,
    labels_among,
    learnt_array,
    require_disjoint,
    require_splits,
    require_variables,
    responses_of,
)
from biorep.words import checked

Competition = Literal["soft", "straight-through"]
PARAMETERS = ("log_gain", "offset", "log_sharpness", "log_scale", "log_width", "shift")


class SurrogateEncoder(Encoder):
    """Expected spike counts of a spiking network for pixels in [0, 1].

    Parameters
    ----------
    weights : Tensor, (neuroid, input)
    parameters : dict of str to Tensor
        The `PARAMETERS`: `log_gain` and `offset` are (neuroid,), the others scalars.
    competition : {"soft", "straight-through"}
    """

    @checked
    def __init__(self, weights: Tensor, parameters: dict[str, Tensor], competition: Competition):
        super().__init__(weights.shape[1], weights.shape[0], input_norm=None, power=None)
        self.competition = competition
        self.register_buffer("weights", weights)
        self.weights: Tensor
        self.log_gain: Tensor
        self.offset: Tensor
        self.log_sharpness: Tensor
        self.log_scale: Tensor
        self.log_width: Tensor
        self.shift: Tensor
        for name in PARAMETERS:
            self.register_parameter(name, nn.Parameter(parameters[name].clone()))

    def preactivation(self, rows: Tensor) -> Tensor:
        """Return the logarithm of the rate that each neuron would have alone, u."""
        return torch.exp(self.log_gain) * (rows @ self.weights.T) - self.offset

    def activation(self, currents: Tensor) -> Tensor:
        """Return the expected counts, (presentation, neuroid)."""
        total = torch.logsumexp(currents, 1, keepdim=True) / torch.exp(self.log_width) + self.shift
        spikes = torch.exp(self.log_scale) * nn.functional.softplus(total)
        share = torch.softmax(torch.exp(self.log_sharpness) * currents, 1)
        if self.competition == "straight-through":
            winner = nn.functional.one_hot(currents.argmax(1), currents.shape[1]).to(share)
            share = winner + share - share.detach()
        return spikes * share


class Surrogate(Measure):
    """How to fit a surrogate. A recipe that attacks a network without gradients gets one unasked."""

    seeded: ClassVar[bool] = True
    on_device: ClassVar[bool] = True
    versions: ClassVar[dict[str, int]] = {"surrogate": 1}
    apart: ClassVar[tuple[str, ...]] = ("log_gain", "offset", "fitted_stimulus_id")

    kind: Literal["surrogate"] = "surrogate"
    competition: Competition = setting(
        "soft", description="straight-through: all spikes go to the winner, the gradient is that of the soft form"
    )
    steps: int = setting(600, ge=1, description="updates of the fit")
    batch_size: int = setting(500, ge=1, description="presentations per update")
    learning_rate: float = setting(0.03, gt=0, description="learning rate in the first update; it falls to 0")

    def needs(self, recipe: Recipe) -> Mapping[str, Need]:
        """Return the network, its readout, and counts with their images, to fit and to judge."""
        fit_on = recipe.dataset.fit_on
        count = getattr(recipe.measures.get("readout"), "images", None)  # the counts that the readout was fitted to
        return {
            "network": Frozen(),
            "readout": Result("readout"),
            "train": Code(fit_on, images=count),
            "images": Images(fit_on),
            "test": Code("test"),
            "test_images": Images("test"),
        }

    def make(self, given: Given) -> xr.Dataset:
        """Fit the surrogate and measure how faithful it is on test images."""
        frozen = given["network"]
        network, state = frozen.network, frozen.state
        fitted = self.fit(network, state, given["train"], given["images"], seed=given.seed, context=given.context)
        found = fidelity(state, fitted, given["readout"], given["test"], given["test_images"])
        fitted.attrs["warnings"] = json.dumps(
            [
                "attacks go through the expected-rate surrogate, not through the simulation: its labels agree with "
                f"the simulated ones for {100 * float(found['label_agreement']):.1f} % of the test images "
                f"(counts: correlation {float(found['count_correlation']):.2f})"
            ]
        )
        return fitted.merge(found, combine_attrs="override")

    @undisturbed()
    def fit(
        self,
        network: Network,
        state: xr.Dataset,
        representation: xr.Dataset,
        dataset: xr.Dataset,
        *,
        seed: int = 0,
        context: RunContext | None = None,
    ) -> xr.Dataset:
        """Fit the surrogate to the counts of training images.

        Parameters
        ----------
        network : Network
            A network whose state has ``weights(neuroid, input)`` and whose input is the pixels.
        state : xr.Dataset
            What ``network.fit`` returned.
        representation : xr.Dataset
            Counts for training images, ``response([repeat,] presentation, neuroid)``.
        dataset : xr.Dataset
            Those images, in any order.
        seed : int
            Seed of the mini-batches.
        context : RunContext, optional

        Returns
        -------
        xr.Dataset
            The fitted parameters and ``fitted_stimulus_id``.

        Raises
        ------
        SplitError
            If there are test images among them.
        ConfigError
            If the network cannot have a surrogate.
        """
        check_state(network, state)
        if "weights" not in state or set(state["weights"].dims) != {"neuroid", "input"}:
            raise ConfigError(f"'{network.word}' has no input weights, (neuroid, input), to make a surrogate from")
        require_splits(representation, FITTING, "fitting of a surrogate")
        context = RunContext.of(context)
        device = context.torch_device()
        weights = learnt_array(state, "weights", ("neuroid", "input"))
        check_same_state(representation, state_digest(state), "the counts are")
        counts = torch.as_tensor(_mean_counts(representation, len(weights))).to(device)
        if not counts.sum() > 0:
            raise DataError("the network never spiked: there is nothing to fit a surrogate to")
        images = torch.as_tensor(_matching(dataset, representation)).to(device)
        encoder = _start(torch.as_tensor(weights).to(device), images, counts)
        loss = self._descend(encoder, images, counts, seed, context)
        names = {name: getattr(encoder, name).detach().cpu().numpy() for name in PARAMETERS}
        result = xr.Dataset({n: ("neuroid" if v.ndim else (), v) for n, v in names.items()})
        result["fitted_stimulus_id"] = ("fitted", np.unique(representation["stimulus_id"].values))
        result.attrs |= {"competition": self.competition, "poisson_loss": loss, "state": state_digest(state)}
        return describe(result, {name: (name.replace("_", " "), "1") for name in PARAMETERS})

    def _descend(
        self, encoder: SurrogateEncoder, images: Tensor, counts: Tensor, seed: int, context: RunContext
    ) -> float:
        """Minimise the Poisson loss of the soft form and return the last smoothed value."""
        solver = torch.optim.Adam(encoder.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(solver, self.steps)
        generator = rng.stream(seed, "surrogate", "batches")
        smooth = float("nan")
        for _ in context.track(range(self.steps), "surrogate: updates"):
            chosen = torch.as_tensor(generator.integers(len(images), size=self.batch_size)).to(images.device)
            expected = encoder(images[chosen])
            loss = nn.functional.poisson_nll_loss(expected, counts[chosen], log_input=False, eps=1e-6)
            solver.zero_grad()
            loss.backward()
            solver.step()
            schedule.step()
            value = float(loss.detach())
            smooth = value if np.isnan(smooth) else 0.95 * smooth + 0.05 * value
        return smooth


@undisturbed()
def surrogate_module(state: xr.Dataset, surrogate: xr.Dataset) -> SurrogateEncoder:
    """Return the fitted surrogate as a frozen module: pixels (presentation, ...) to expected counts."""
    require_variables(surrogate, dict.fromkeys(PARAMETERS, ()), "a surrogate")
    weights = torch.as_tensor(learnt_array(state, "weights", ("neuroid", "input")))
    check_same_state(surrogate, state_digest(state), "the surrogate was fitted to counts")
    own = {name: ("neuroid",) if name in ("log_gain", "offset") else () for name in PARAMETERS}
    parameters = {
        name: torch.as_tensor(learnt_array(surrogate, name, dims, (len(weights),) if dims else ()))
        for name, dims in own.items()
    }
    encoder = SurrogateEncoder(weights, parameters, surrogate.attrs["competition"])
    return encoder.requires_grad_(False)


@undisturbed()
def fidelity(
    state: xr.Dataset, surrogate: xr.Dataset, readout: xr.Dataset, representation: xr.Dataset, dataset: xr.Dataset
) -> xr.Dataset:
    """Measure how well a surrogate tells the counts of images that it was not fitted to.

    Parameters
    ----------
    state, surrogate : xr.Dataset
        Trained network and its surrogate.
    readout : xr.Dataset
        Readout of the simulated counts.
    representation : xr.Dataset
        Simulated counts for held-out images.
    dataset : xr.Dataset
        Those images.

    Returns
    -------
    xr.Dataset
        ``count_correlation``: Pearson correlation of expected and simulated counts over all pairs of image and
        neuroid; ``total_correlation``: of the spikes per image; ``label_agreement``: share of images for which the
        readout says the same of both; ``surrogate_accuracy``: share that it says the label of.

    Raises
    ------
    SplitError
        If an image was used for fitting.
    """
    require_disjoint(
        representation["stimulus_id"].values, surrogate["fitted_stimulus_id"].values, "fidelity of a surrogate"
    )
    with torch.inference_mode():
        images = torch.as_tensor(_matching(dataset, representation))
        expected = surrogate_module(state, surrogate)(images).numpy()
    representation = in_order(representation, np.arange(expected.shape[1]))
    counts = _mean_counts(representation, expected.shape[1])
    told = representation.drop_vars("response").assign(response=(("presentation", "neuroid"), expected))
    said = predict(readout, told)
    values = {
        "count_correlation": _correlation(expected.ravel(), counts.ravel()),
        "total_correlation": _correlation(expected.sum(1), counts.sum(1)),
        "label_agreement": float((said == predict(readout, representation)).mean()),
        "surrogate_accuracy": float((said == labels_among(representation, arrays_of(readout)[2])).mean()),
    }
    return describe(xr.Dataset(values), {name: (name.replace("_", " "), "1") for name in values})


def _start(weights: Tensor, images: Tensor, counts: Tensor) -> SurrogateEncoder:
    """Return the encoder to start from: unit variance of the drive, and the mean number of spikes."""
    drive = images @ weights.T
    gain = 1 / drive.std().clamp_min(1e-6)
    neuroids = torch.ones(len(weights), device=weights.device)
    parameters = {
        "log_gain": gain.log() * neuroids,
        "offset": gain * drive.mean(0),
        "log_sharpness": torch.tensor(1.0),
        "log_scale": counts.sum(1).mean().clamp_min(1e-3).log(),
        "log_width": torch.tensor(1.0),
        "shift": torch.tensor(0.0),
    }
    moved = {name: value.to(weights) for name, value in parameters.items()}
    return SurrogateEncoder(weights, moved, "soft").to(weights.device)


def _mean_counts(representation: xr.Dataset, neuroids: int) -> np.ndarray:
    """Return the mean counts over repeats, (presentation, neuroid), in the order of the network."""
    counts = responses_of(in_order(representation, np.arange(neuroids))).values.astype(np.float32)
    if counts.shape[1] != neuroids:
        raise DataError(f"these are counts of {counts.shape[1]} neuroids, the network has {neuroids}")
    return counts


def _matching(dataset: xr.Dataset, representation: xr.Dataset) -> np.ndarray:
    """Return the images of the stimuli of a representation, in its order, as rows."""
    rows = {str(name): row for row, name in enumerate(dataset["stimulus_id"].values)}
    wanted = [str(name) for name in representation["stimulus_id"].values]
    if missing := [name for name in wanted if name not in rows]:
        raise DataError(
            f"{len(missing)} stimuli of the representation are not in the dataset, for example {missing[0]}"
        )
    return flat_images(dataset)[[rows[name] for name in wanted]]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")
