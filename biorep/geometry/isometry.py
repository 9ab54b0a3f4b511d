"""How far a representation keeps the distances between the images of a class."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.spatial.distance import pdist

from biorep.errors import DataError
from biorep.schema import check_dataset, describe, labels_of, responses_of


def within_class_isometry(representation: xr.Dataset, images: xr.Dataset) -> xr.Dataset:
    """Correlate the distances between responses with those between images, over the pairs of each class.

    Parameters
    ----------
    representation : xr.Dataset
        ``response(presentation, neuroid)``; with a dim `repeat` the mean over repeats is taken.
    images : xr.Dataset
        ``image(presentation, ...)`` and ``label`` of the same presentations in the same order.

    Returns
    -------
    xr.Dataset
        ``pearson(label)``: Pearson correlation of the Euclidean distances, NaN for classes with fewer than 3 images or
        without variance; ``scale(label)``: mean distance of the responses over that of the images; ``pairs(label)``;
        ``mean_pearson``, over the classes that have one.

    Raises
    ------
    DataError
        If the presentations differ, or no class has three images.
    NumericalError
        If a response or a pixel is NaN or infinite.

    References
    ----------
    Beshkov, K., Verhellen, J. & Lepperød, M. E. (2022). Isometric representations in neural networks improve
    robustness. arXiv:2211.01236.

    Examples
    --------
    >>> import numpy as np
    >>> from biorep import datasets
    >>> images = datasets.from_arrays(np.random.default_rng(0).random((20, 4)), np.arange(20) % 2)
    >>> doubled = images.assign(response=2 * images["image"].rename(pixel="neuroid"))
    >>> round(float(within_class_isometry(doubled, images).mean_pearson), 6)
    1.0
    """
    for name, data in {"the representation": representation, "images": images}.items():
        if not isinstance(data, xr.Dataset | xr.DataArray) or "stimulus_id" not in data.coords:
            raise DataError(f"{name} must be an xarray Dataset with the coordinate 'stimulus_id'")
    if not np.array_equal(representation["stimulus_id"].values, images["stimulus_id"].values):
        raise DataError("the responses and the images are not those of the same stimuli in the same order")
    responses = responses_of(representation).values.astype(np.float64)
    check_dataset(images)
    pixels = images["image"].values.reshape(len(responses), -1).astype(np.float64)
    labels = labels_of(images)
    classes = np.unique(labels)
    rows = [_of_class(responses[labels == label], pixels[labels == label]) for label in classes]
    pearson, scale, pairs = map(np.asarray, zip(*rows, strict=True))
    if not np.isfinite(pearson).any():
        raise DataError(f"none of the {len(classes)} classes has three images whose distances vary")
    result = xr.Dataset(
        {
            "pearson": ("label", pearson),
            "scale": ("label", scale),
            "pairs": ("label", pairs),
            "mean_pearson": float(np.nanmean(pearson)),
        },
        coords={"label": classes},
    )
    return describe(
        result,
        {
            "pearson": ("Pearson correlation of the distances of responses and images within the class", "1"),
            "scale": ("mean distance of the responses over mean distance of the images", "1"),
            "pairs": ("number of pairs", "1"),
            "mean_pearson": ("mean of the correlation over the classes", "1"),
            "label": ("class", "1"),
        },
    )


def _of_class(responses: np.ndarray, pixels: np.ndarray) -> tuple[float, float, int]:
    found, given = pdist(responses), pdist(pixels)
    if len(responses) < 3 or any(distances.std() <= 1e-12 * distances.mean() for distances in (found, given)):
        return np.nan, np.nan, len(found)
    return float(np.corrcoef(found, given)[0, 1]), float(found.mean() / given.mean()), len(found)
