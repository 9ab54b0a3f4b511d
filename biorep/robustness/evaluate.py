"""Robustness of a classifier: attacks and noise over grids of epsilons, as one labelled tree."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from biorep import rng, tables
from biorep.context import RunContext, undisturbed
from biorep.errors import ConfigError, DataError, whole
from biorep.robustness.attack import Attack, Problem, random_starts
from biorep.robustness.critical import LeastNorms, Move, least_norms, tolerances
from biorep.robustness.fgsm import FGSM
from biorep.robustness.frozen import device_of, dtype_of, frozen
from biorep.robustness.gate import check_images, is_positive, logits_of
from biorep.robustness.noise import noise_group
from biorep.robustness.perturbation import Model, Norm
from biorep.robustness.pgd import PGD
from biorep.robustness.tables import attack_table
from biorep.schema import check_dataset, describe, labels_among, require_disjoint, require_splits

#: An attack: settings, a word, or a group of keys.
Named = Attack | str | Mapping[str, Any]
#: What is evaluated where nothing else is asked for.
STANDARD: tuple[Attack, ...] = (FGSM(), PGD())
LINF = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
L2 = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 6.0)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
NOISE = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


@undisturbed()
def evaluate(
    model: Model,
    dataset: xr.Dataset,
    *,
    attacks: Named | Sequence[Named] = STANDARD,
    linf: Sequence[float] | None = None,
    l2: Sequence[float] | None = None,
    noise: Sequence[float] | None = None,
    noise_draws: int = 10,
    noise_clipped: bool = True,
    precision: float = 0.01,
    images: int = 1000,
    split: str = "test",
    fitted: np.ndarray | None = None,
    prepare: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    context: RunContext | None = None,
) -> xr.DataTree:
    """Attack a classifier.

    Parameters
    ----------
    model : callable
        Images (presentation, ...) to logits (presentation, class), by torch operations: a module in evaluation mode, or
        any function. A module is asked as in use, whatever mode it is in, and afterwards it is as it was.
    dataset : xr.Dataset
        Images, ``image(presentation, ...)``, and ``label(presentation)``.
    attacks : Attack, str or mapping, or a sequence of them
        Settings, words of `biorep.tables.ATTACKS`, or groups of keys with a `kind`.
    linf, l2, noise : sequence of float, optional
        Ascending epsilons, in units of the attacked images; of noise the standard deviations. 0 is added in front. One
        that is empty leaves its group out. By default `LINF`, `L2` and `NOISE` times the width of the value range.
    noise_draws : int
        Independent draws of the noise.
    noise_clipped : bool
        Clip noisy images to the value range.
    precision : float
        Of the critical distance: after the grid, epsilon is bisected until the interval is this share of its lower end;
        infinite: not at all.
    images : int
        How many images, the first ones of a recorded permutation.
    split : str
        What all images must belong to.
    fitted : array of str, optional
        Stimuli that the classifier was fitted to; an overlap is an error.
    prepare : callable, optional
        Images (presentation, ...) to what the model takes and is attacked: a normalisation, another shape or dtype.
    seed : int
        Seed of random starts and noise.
    context : RunContext, optional
        By default on the device of the model.

    Returns
    -------
    xr.DataTree
        At the root ``clean_correct(presentation)`` and ``clean_accuracy``. In the groups ``linf`` and ``l2``:
        ``critical_distance`` and ``critical_l2`` ``(attack, presentation)``, the least norm found that fools, from
        which all else follows: ``correct(attack, epsilon, presentation)``, ``accuracy`` and ``relative_accuracy``
        ``(attack, epsilon)``, and medians over all and over the correctly classified images. In ``noise``:
        ``accuracy(epsilon)`` over the draws, ``share_correct(epsilon, presentation)`` and the critical distance along
        the direction of the first draw. The attribute `warnings` is a JSON list.

    Raises
    ------
    ConfigError
        If a setting is not what it should be, or the model is in training mode, gives no gradients, or answers an image
        otherwise when it is asked again or beside other images.
    DataError
        If the images have no labels, or images, labels and logits do not fit each other.
    SplitError
        If the images are not of the split, or were used for fitting.
    NumericalError
        If images or logits are NaN.

    References
    ----------
    Carlini, N. et al. (2019). On evaluating adversarial robustness. arXiv:1902.06705.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from biorep.datasets import from_arrays
    >>> data = from_arrays(np.eye(2).reshape(2, 1, 2), np.array([0, 1]), split="test")
    >>> tree = evaluate(lambda images: images.flatten(1), data, linf=[0.4, 0.6], l2=[], noise=[])
    >>> tree["linf"]["accuracy"].sel(attack="pgd").values.tolist()
    [1.0, 1.0, 0.0]
    """
    _check_kinds(model, dataset, prepare)
    rng.check_seed(seed)
    chosen = _images(dataset, images, split, fitted)
    named = _named(attacks)
    grids: dict[Norm, list[float]] = {"linf": _grid(linf, LINF, chosen), "l2": _grid(l2, L2, chosen)}
    sds = _grid(noise, NOISE, chosen)
    noise_draws = whole(noise_draws, "noise_draws")
    if not is_positive(precision):
        raise ConfigError(f"precision must be a positive number, got {precision!r}")
    context = RunContext.of(context, device=device_of(model))
    with frozen(model, context.torch_device()):
        problem = _problem(model, chosen, prepare, seed, context.torch_device())
        groups = {"/": _root(problem, chosen)}
        _refuse_unsteady(problem)
        clean, warnings = groups["/"]["clean_correct"].values == 1, []
        for norm, epsilons in grids.items():
            problem = replace(problem, norm=norm, start=random_starts(problem.images, norm, seed))
            if len(epsilons) > 1 and named:
                groups[norm], said = _attacked(
                    problem, named, clean, epsilons=epsilons, precision=precision, context=context
                )
                warnings += said
        if len(sds) > 1:
            groups["noise"] = noise_group(
                replace(problem, norm="l2"),
                clean,
                epsilons=sds,
                draws=noise_draws,
                clipped=noise_clipped,
                precision=precision,
                seed=seed,
                context=context,
            )
    for name in set(groups) - {"/"}:
        groups[name] = groups[name].assign_coords(stimulus_id=chosen["stimulus_id"])
    groups["/"].attrs |= {"split": split, "warnings": json.dumps(warnings)}
    return xr.DataTree.from_dict(groups)


def check_grid(values: Sequence[float]) -> tuple[float, ...]:
    """Return epsilons with their leading 0; raise `ConfigError` if they are no numbers that ascend."""
    try:
        given = np.asarray(values)
    except ValueError:  # lists of different lengths
        given = np.asarray(None)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iuf"):
        raise ConfigError(f"epsilons must be a list of numbers, such as [0.1, 0.2], got {values!r}")
    listed = tuple(float(value) for value in given)
    found = listed if listed[:1] == (0.0,) else (0.0, *listed)
    if not all(a < b < np.inf for a, b in itertools.pairwise(found)):
        raise ConfigError(f"epsilons must be non-negative and ascend, got {list(listed)}")
    return found


def _grid(values: Sequence[float] | None, default: Sequence[float], dataset: xr.Dataset) -> list[float]:
    """Return epsilons; the default ones are shares of the range of the values that images may have."""
    low, high = dataset["image"].attrs["value_range"]
    return list(check_grid([share * float(high - low) for share in default] if values is None else values))


def _check_kinds(model: object, dataset: object, prepare: object) -> None:
    """Refuse what is no classifier, no dataset, no preparation."""
    if not callable(model):
        raise ConfigError(f"the model must be callable, images to logits, got {type(model).__name__}")
    if prepare is not None and not callable(prepare):
        raise ConfigError(f"prepare must be callable, images to what the model takes, got {type(prepare).__name__}")
    if not isinstance(dataset, xr.Dataset):
        raise DataError(f"the dataset must be an xarray Dataset (datasets.from_arrays), got {type(dataset).__name__}")


def name_attacks(attacks: Sequence[Attack]) -> list[str]:
    """Return what the attacks are called in results: their words; with their settings where a word comes twice.

    Raises
    ------
    ConfigError
        If two attacks are the same.
    """
    words = [attack.word for attack in attacks]
    found = [_spelt(attack) if words.count(word) > 1 else word for attack, word in zip(attacks, words, strict=True)]
    if len(set(found)) < len(found):
        raise ConfigError(f"each attack can be named once, got {found}")
    return found


def _spelt(attack: Attack) -> str:
    special = attack.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    return " ".join([attack.word, *(f"{key}={value}" for key, value in special.items())])


def _named(attacks: Named | Sequence[Named]) -> dict[str, Attack]:
    attacks = [attacks] if isinstance(attacks, Attack | str | Mapping) else attacks
    if not isinstance(attacks, list | tuple) or not all(isinstance(one, Attack | str | Mapping) for one in attacks):
        raise ConfigError(f"attacks must be a list of words, of settings or of groups of keys, got {attacks!r}")
    listed = [attack if isinstance(attack, Attack) else _parsed(attack) for attack in attacks]
    return dict(zip(name_attacks(listed), listed, strict=True))


def _parsed(attack: str | Mapping[str, Any]) -> Attack:
    found: Attack = tables.ATTACKS.parse({"kind": attack} if isinstance(attack, str) else attack)
    return found


def _images(dataset: xr.Dataset, count: int, split: str, fitted: np.ndarray | None) -> xr.Dataset:
    """Return the images to attack: the first ones of a permutation that is the same for all networks and seeds."""
    check_dataset(dataset)
    if "label" not in dataset:
        raise DataError("the dataset has no labels, so no image can be misclassified. Give 'label(presentation)'.")
    if dataset["label"].dtype.kind not in "iuf":
        raise DataError(f"labels must be integers, got {dataset['label'].dtype}")
    require_splits(dataset, [str(split)], "an evaluation of robustness")
    count = whole(count, "images")
    n = dataset.sizes["presentation"]
    order = rng.stream(0, "robustness-images", n).permutation(n)[:count]
    chosen = dataset.isel(presentation=np.sort(order))
    if fitted is not None:
        if isinstance(fitted, str) or np.ndim(fitted) != 1:
            raise DataError(f"fitted must be a list of stimulus ids, got {fitted!r}")
        require_disjoint(chosen["stimulus_id"].values, fitted, "an evaluation of robustness")
    return chosen


def _problem(
    model: Model, dataset: xr.Dataset, prepare: Callable[[Tensor], Tensor] | None, seed: int, device: str
) -> Problem:
    """Return the problem in L-inf."""
    images = torch.as_tensor(dataset["image"].values).to(device)
    images = images.to(dtype_of(model) or images.dtype) if images.is_floating_point() else images
    with torch.no_grad():
        images = images if prepare is None else prepare(images)
    names = getattr(model, "class_names", None)  # of a classifier of biorep: other data may have another order
    labels = torch.as_tensor(labels_among(dataset, names) if names else dataset["label"].values).to(device)
    labels = labels.long() if labels.dtype in INTEGERS else labels  # others are refused with the problem
    low, high = dataset["image"].attrs["value_range"]
    return Problem(model, images, labels, (float(low), float(high)), "linf", random_starts(images, "linf", seed))


def _refuse_unsteady(problem: Problem, count: int = 8) -> None:
    """Refuse a model around dropout, noise or batch norm in training mode: a callable hides them from `frozen`."""
    images, labels = problem.images[:count], problem.labels[:count]
    half = (len(images) + 1) // 2
    with torch.no_grad():
        whole, again = (logits_of(problem.model, images, labels) for _ in range(2))
        part = logits_of(problem.model, images[:half], labels[:half])
    slack = 1e-3 * float(whole[torch.isfinite(whole)].abs().amax()) if torch.isfinite(whole).any() else 0.0
    if not torch.allclose(whole, again, rtol=0, atol=slack):
        why = "answers the same images differently each time: dropout or noise?"
    elif not torch.allclose(whole[:half], part, rtol=0, atol=slack):
        why = "answers an image otherwise when other images are shown with it: batch norm in training mode?"
    else:
        return
    raise ConfigError(
        f"the model {why} Call eval() on the module inside, or fix what it draws: nothing can be measured"
    )


def _root(problem: Problem, dataset: xr.Dataset) -> xr.Dataset:
    clean = torch.cat([~problem.fooled(index, problem.images[index]) for index in problem.batches()]).numpy()
    root = xr.Dataset(
        {"clean_correct": ("presentation", clean.astype(np.int8)), "clean_accuracy": clean.mean()},
        coords={"stimulus_id": dataset["stimulus_id"], "label": dataset["label"]},
    )
    return describe(
        root,
        {
            "clean_correct": ("1 if the unperturbed image is classified correctly", "1"),
            "clean_accuracy": ("share of unperturbed images classified correctly", "1"),
        },
    )


def _attacked(
    problem: Problem,
    attacks: Mapping[str, Attack],
    clean: np.ndarray,
    *,
    epsilons: list[float],
    precision: float,
    context: RunContext,
) -> tuple[xr.Dataset, list[str]]:
    """Return the group of one norm, and warnings."""
    found: dict[str, LeastNorms] = {}
    warnings = []
    for name, attack in context.track(attacks.items(), f"robustness: {problem.norm}"):
        plan = [] if attack.minimises else epsilons
        move = _in_batches(problem, attack)
        found[name] = least_norms(problem, move, clean, epsilons=plan, precision=precision)
        warnings += [f"{name} ({problem.norm}): {text}" for text in attack.examine(problem)]
    return attack_table(found, epsilons, tolerances(problem, epsilons), clean), warnings


def _in_batches(problem: Problem, attack: Attack) -> Move:
    def move(index: Tensor, epsilon: Tensor | None) -> Tensor:
        chosen = problem.batches(index)
        radii = [None] * len(chosen) if epsilon is None else problem.batches(epsilon)
        return torch.cat(
            [_perturbed(problem, attack, part, radius) for part, radius in zip(chosen, radii, strict=True)]
        )

    return move


def _perturbed(problem: Problem, attack: Attack, index: Tensor, epsilon: Tensor | None) -> Tensor:
    """Return what an attack makes of images; it gets copies: one that works in place would move the clean ones."""
    own = replace(problem, images=problem.images.clone(), labels=problem.labels.clone())
    found, wanted = attack(own, index.clone(), None if epsilon is None else epsilon.clone()), problem.images[index]
    if not isinstance(found, Tensor) or found.shape != wanted.shape or not found.is_floating_point():
        got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise DataError(f"the attack '{attack.word}' must return images {tuple(wanted.shape)}, got {got}")
    found = found.detach().to(wanted)
    check_images(found, problem.bounds, f"images that the attack '{attack.word}' returned")
    return found
