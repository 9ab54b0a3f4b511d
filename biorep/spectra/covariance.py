"""The eigenspectrum of the covariance of a representation.

In float64, with the true mean, and with a symmetric solver for eigenvalues only. In float32 the large common
mean of rectified codes cancels and bends the tail: an exponent of 2.67 comes out as 2.51.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import scipy.linalg
import scipy.linalg.blas
import xarray as xr

from biorep.errors import ConfigError, DataError, NumericalError, whole
from biorep.schema import check_finite, describe, responses_of
from biorep.spectra.estimator import Estimator

ROWS = 2000  # centred at once: enough for the full speed of the matrix product


def eigenspectrum(representation: xr.Dataset | xr.DataArray, *, ddof: int = 1) -> xr.Dataset:
    """Return the eigenvalues of the covariance over presentations.

    Parameters
    ----------
    representation : xr.Dataset or xr.DataArray
        ``response(presentation, neuroid)``; with a dim `repeat` the mean over repeats is taken.
    ddof : int
        The sum of squares is divided by ``n - ddof``.

    Returns
    -------
    xr.Dataset
        ``eigenvalue(component)`` in descending order for the min(n - 1, d) components that n centred
        presentations of d neuroids can have; ``total_variance`` (the trace), ``participation_ratio``,
        ``n_presentations``, ``n_neuroids``, ``n_silent`` (neuroids without variance), ``numerical_rank``; attributes
        `ddof`, `method`, and `layer` and `quantity` of the representation.

    Raises
    ------
    NumericalError
        If a response is NaN or infinite, or variances leave the range of float64.
    DataError
        If there are fewer than two presentations or nothing varies.
    ConfigError
        If `ddof` leaves no degree of freedom.

    References
    ----------
    Stringer, C. et al. (2019). High-dimensional geometry of population responses in visual cortex. Nature 571.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> x = xr.DataArray(np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]]), dims=("presentation", "neuroid"))
    >>> [round(float(value), 3) for value in eigenspectrum(x).eigenvalue]
    [2.667, 0.667]
    """
    values = responses_of(representation).values
    n, d = values.shape
    if n < 2:
        raise DataError(f"a covariance needs at least two presentations, got {n}")
    if whole(ddof, "ddof", least=0) >= n:
        raise ConfigError(f"ddof must be 0 or more and less than the {n} presentations, got {ddof}")
    silent = int((values.max(0) == values.min(0)).sum())
    if silent == d:
        raise DataError(f"none of the {d} neuroids varies over the {n} presentations: there is no spectrum")
    eigenvalues, method = _eigenvalues(values, n - ddof)
    if not 0 < eigenvalues[0] ** 2 < np.inf:
        raise NumericalError(f"the variances ({eigenvalues[0]:g}) leave the range of float64: rescale the responses")
    result = xr.Dataset(
        {
            "eigenvalue": ("component", eigenvalues),
            "total_variance": float(eigenvalues.sum()),
            "participation_ratio": float(eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()),
            "n_presentations": n,
            "n_neuroids": d,
            "n_silent": silent,
            "numerical_rank": int((eigenvalues > max(n, d) * np.finfo(float).eps * eigenvalues[0]).sum()),
        },
        coords={"component": np.arange(1, len(eigenvalues) + 1)},
        attrs={"ddof": ddof, "method": method},
    )
    if isinstance(representation, xr.Dataset):
        result.attrs |= {
            name: representation.attrs[name] for name in ("layer", "quantity") if name in representation.attrs
        }
    return describe(
        result,
        {
            "eigenvalue": ("eigenvalue of the covariance", "1"),
            "component": ("rank of the principal component", "1"),
            "total_variance": ("sum of the eigenvalues", "1"),
            "participation_ratio": ("(sum of eigenvalues)^2 / sum of squared eigenvalues", "1"),
            "n_presentations": ("presentations that the covariance is taken over", "1"),
            "n_neuroids": ("neuroids", "1"),
            "n_silent": ("neuroids without variance", "1"),
            "numerical_rank": ("eigenvalues above the rounding error of the largest", "1"),
        },
    )


class PCA(Estimator):
    """Eigenvalues of the covariance of the (mean) responses, see `eigenspectrum`."""

    versions: ClassVar[dict[str, int]] = {"pca": 1}

    kind: Literal["pca"] = "pca"

    def __call__(self, representation: xr.Dataset) -> xr.Dataset:
        """Return the spectrum."""
        return eigenspectrum(representation)


def _eigenvalues(values: np.ndarray, denominator: int) -> tuple[np.ndarray, str]:
    """Return descending eigenvalues of the covariance of rows, from the smaller of the two Gram forms."""
    n, d = values.shape
    mean = values.mean(0, dtype=np.float64)
    if n <= d:
        with np.errstate(over="ignore"):
            centred = values - mean
        # A product of an array with its own transpose is a symmetric rank-k update in numpy: half the work.
        product, method = centred @ centred.T, "gram"
    else:
        product, method = _scatter(values, mean), "covariance"
    product /= denominator
    check_finite(product, "covariance")
    ascending = scipy.linalg.eigh(
        product, lower=True, eigvals_only=True, overwrite_a=True, check_finite=False, driver="evr"
    )
    return ascending[::-1][: min(n - 1, d)].copy(), method


def _scatter(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the lower triangle of the sum of (row - mean)(row - mean)^T."""
    streamed = StreamedCovariance(values.shape[1], shift=mean)
    streamed.add(values)
    return streamed.scatter


class StreamedCovariance:
    """The covariance of rows that come in parts, in float64, without a centred copy of all of them.

    Parameters
    ----------
    width : int
        Length of a row.
    shift : (width,) array, optional
        Close to the mean, so that no digits are lost; the mean of the first part by default.

    Raises
    ------
    ConfigError, DataError, NumericalError
        From its methods, if rows are not of this width, not real or not finite, or if there are too few.
    """

    def __init__(self, width: int, shift: np.ndarray | None = None):
        width = whole(width, "width")
        if shift is not None and np.shape(shift) != (width,):
            raise DataError(f"shift must be ({width},), got {np.shape(shift)}")
        self.shift, self.rows = shift, 0
        #: Lower triangle of the sum of (row - shift)(row - shift)^T.
        self.scatter = np.zeros((width, width), order="F")
        self.sum = np.zeros(width)

    def add(self, values: np.ndarray) -> None:
        """Take in rows (row, width)."""
        check_finite(values, "rows")
        if values.ndim != 2 or values.shape[1] != len(self.sum):
            raise DataError(f"rows must be (row, {len(self.sum)}), got the shape {values.shape}")
        if not len(values):
            return
        if self.shift is None:
            self.shift = values.mean(0, dtype=np.float64)
        for start in range(0, len(values), ROWS):
            centred = values[start : start + ROWS] - self.shift
            self.scatter = scipy.linalg.blas.dsyrk(1.0, centred.T, beta=1.0, c=self.scatter, lower=1, overwrite_c=1)
            self.sum += centred.sum(0)
        self.rows += len(values)

    def mean(self) -> np.ndarray:
        """Return the mean of the rows (width,)."""
        self._require(1)
        assert self.shift is not None
        return np.asarray(self.shift + self.sum / self.rows)

    def covariance(self, ddof: int = 0) -> np.ndarray:
        """Return the covariance (width, width) about the true mean."""
        self._require(1 + whole(ddof, "ddof", least=0))
        lower = np.tril(self.scatter)
        full = lower + np.tril(lower, -1).T
        with np.errstate(all="ignore"):
            result: np.ndarray = (full - np.outer(self.sum, self.sum) / self.rows) / (self.rows - ddof)
        return result

    def _require(self, rows: int) -> None:
        if self.rows < rows:
            raise DataError(f"{rows} rows are needed, and {self.rows} were added")

    def eigenvectors(self) -> np.ndarray:
        """Return the eigenvectors of the covariance as columns, the largest first."""
        covariance = self.covariance()
        check_finite(covariance, "covariance")
        _, vectors = scipy.linalg.eigh(covariance, overwrite_a=True, check_finite=False, driver="evd")
        return np.asarray(vectors[:, ::-1])
