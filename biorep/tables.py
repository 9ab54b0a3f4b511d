"""What a recipe can name: one table per kind of thing, one line per thing.

To add something: one file with a class of settings, and its line here. Everything else follows: it stands in any
recipe, has its key, its stage, its columns in the table and its figures on the page. Third parties need no line, see
`biorep.table`.
"""

from __future__ import annotations

from biorep.table import Table

NETWORKS = Table(
    "networks",
    "network",
    "biorep.contracts:Network",
    {
        "krotov-hopfield": "biorep.networks.local.krotov_hopfield:KrotovHopfield",
        "competing-rates": "biorep.networks.brian.competing_rates:CompetingRates",
        "diehl-cook": "biorep.networks.brian.diehl_cook:DiehlCook",
        "diehl-cook-current": "biorep.networks.brian.diehl_cook_current:DiehlCookCurrent",
        "sailnet": "biorep.networks.brian.sailnet:SAILnet",
        "pixels": "biorep.networks.controls.pixels:Pixels",
        "random-features": "biorep.networks.controls.random_features:RandomFeatures",
        "mlp": "biorep.networks.backprop.mlp:MLP",
        "cnn": "biorep.networks.backprop.cnn:CNN",
        "hierarchical": "biorep.networks.backprop.hierarchical:Hierarchical",
    },
)

#: In the order in which the columns of a table and the figures of a page come.
MEASURES = Table(
    "measures",
    "measure",
    "biorep.contracts:Measure",
    {
        "readout": "biorep.bridge.readout:Readout",
        "surrogate": "biorep.bridge.surrogate:Surrogate",
        "spectrum": "biorep.spectra.measure:Spectrum",
        "isometry": "biorep.geometry.measure:Isometry",
        "tuning": "biorep.tuning.measure:Tuning",
        "robustness": "biorep.robustness.measure:Robustness",
    },
)

#: What measures may ask for that is no result: made when a measure asks, never stored.
PROVIDERS = Table(
    "providers",
    "provider",
    "biorep.contracts:Measure",
    {
        "model": "biorep.bridge.model:Joined",
    },
)

DATASETS = Table(
    "datasets",
    "dataset",
    "biorep.contracts:Dataset",
    {
        "digits": "biorep.datasets.digits:Digits",
        "mnist": "biorep.datasets.idx:MNIST",
        "fashion-mnist": "biorep.datasets.idx:FashionMNIST",
        "cifar10": "biorep.datasets.cifar10:CIFAR10",
        "natural-patches": "biorep.datasets.natural_patches:NaturalPatches",
        "gratings": "biorep.datasets.gratings:Gratings",
    },
    tag="name",
    other="biorep.datasets.own:File",
)

PENALTIES = Table(
    "penalties",
    "penalty",
    "biorep.penalties.base:BasePenalty",
    {
        "l2": "biorep.penalties.weight:WeightPenalty",
        "jacobian": "biorep.penalties.jacobian:JacobianPenalty",
        "spectral": "biorep.penalties.spectral:SpectralPenalty",
        "isometric": "biorep.penalties.isometric:IsometricPenalty",
        "input-gradient": "biorep.penalties.input_gradient:InputGradientPenalty",
        "spectral-norm": "biorep.penalties.spectral_norm:SpectralNormPenalty",
        "parseval": "biorep.penalties.parseval:ParsevalPenalty",
        "singular-value-bounds": "biorep.penalties.singular_values:SingularValueBounds",
    },
)

OBJECTIVES = Table(
    "objectives",
    "objective",
    "biorep.networks.backprop.objectives:BaseObjective",
    {
        "cross-entropy": "biorep.networks.backprop.objectives:PlainObjective",
        "noise": "biorep.networks.backprop.objectives:NoiseTraining",
        "adversarial": "biorep.networks.backprop.objectives:AdversarialTraining",
        "trades": "biorep.networks.backprop.objectives:Trades",
    },
)

ATTACKS = Table(
    "attacks",
    "attack",
    "biorep.robustness.attack:Attack",
    {
        "fgsm": "biorep.robustness.fgsm:FGSM",
        "pgd": "biorep.robustness.pgd:PGD",
    },
)

ESTIMATORS = Table(
    "estimators",
    "estimator of the spectrum",
    "biorep.spectra.estimator:Estimator",
    {
        "pca": "biorep.spectra.covariance:PCA",
    },
)

#: Windows, weights and sign policies of power-law fits.
CONVENTIONS = Table(
    "conventions",
    "convention",
    "biorep.spectra.powerlaw:Convention",
    {
        "stringer-matlab": "biorep.spectra.powerlaw:STRINGER_MATLAB",
        "stringer-python": "biorep.spectra.powerlaw:STRINGER_PYTHON",
        "kong-models": "biorep.spectra.powerlaw:KONG_MODELS",
        "alpha-req": "biorep.spectra.powerlaw:ALPHA_REQ",
        "holzhausen-images": "biorep.spectra.powerlaw:HOLZHAUSEN_IMAGES",
        "holzhausen-noise": "biorep.spectra.powerlaw:HOLZHAUSEN_NOISE",
    },
)
