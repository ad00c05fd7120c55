"""Standard errors of kernel distances have the variances that formulas and definitions give.

With the kernel a.b the distance of two Gaussians N(0, I) and N(s, I) in d dimensions estimates |s|^2, and its variance
is, by Hoeffding's decomposition, 4 |s|^2 (1/n + 1/m) + 2 d / (n (n - 1)) + 2 d / (m (m - 1)) + 4 d / (n m).
"""

from collections.abc import Iterator

import numpy as np
import pytest

from gendi.evaluate.feature_intervals import kernel_error
from gendi.evaluate.kernel_errors import Across, Within, error_of_both, error_of_first
from gendi.evaluate.metrics import energy_kernel, kernel_distance
from gendi.evaluate.vectors.distances import discrepancy_error, energy_distance


def blocks(x: np.ndarray, y: np.ndarray, size: int = 7) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        yield rows, x[rows] @ y.T


def test_the_centred_squares_are_their_definitions() -> None:
    """U-centred (Székely and Rizzo 2014, definition 2) within a set, doubly centred across."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 3)) + 1, rng.standard_normal((12, 3))
    n, k = 9, x @ x.T
    np.fill_diagonal(k, 0)
    row = k.sum(axis=1) / (n - 2)
    centred = k - row[:, None] - row[None, :] + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    assert Within.of(n, blocks(x, x)).centred == pytest.approx(np.sum(centred**2) / (n * (n - 3)), rel=1e-10)
    across = x @ y.T
    both = across - across.mean(axis=1)[:, None] - across.mean(axis=0) + across.mean()
    assert Across.of(9, 12, blocks(x, y)).centred == pytest.approx(np.sum(both**2) / (8 * 11), rel=1e-10)


@pytest.mark.statistical
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_variance_of_a_linear_kernel_is_the_formulas(shift: float) -> None:
    """Over 300 sets the squared errors scatter by 30% at most, so their mean by 2%; the tolerance is four of that.
    Without a shift the estimate of the linear part is 4 (1/n + 1/m) D, where D is about (1/n + 1/m) (chi^2_d - d). Cut
    off at 0, it adds 4 E max(chi^2_d - d, 0) / 2 d to the ratio: 0.39 for d = 8, of which 300 sets know 0.034."""
    rng, n, m, d = np.random.default_rng(1), 60, 40, 8
    found = []
    for _ in range(300):
        x, y = rng.standard_normal((n, d)), rng.standard_normal((m, d)) + shift
        error = error_of_both(Within.of(n, blocks(x, x)), Within.of(m, blocks(y, y)), Across.of(n, m, blocks(x, y)))
        found.append((error or 0) ** 2)
    formula = 4 * d * shift**2 * (1 / n + 1 / m) + d * (2 / (n * (n - 1)) + 2 / (m * (m - 1)) + 4 / (n * m))
    ratio = float(np.mean(found)) / formula
    assert ratio == (pytest.approx(1, abs=0.08) if shift else pytest.approx(1.39, abs=4 * 0.034))


@pytest.mark.statistical
def test_the_variance_given_the_other_set_is_the_formulas() -> None:
    """Given y, D is (2/n) times a sum of x . (0 - mean of y), and the pairs of x: 4 |mean y|^2 / n + 2 d / (n (n - 1)).
    The squared errors of 300 sets scatter by 30%, so their mean by 2%; the tolerance is four of that."""
    rng, n, d = np.random.default_rng(2), 60, 8
    y = rng.standard_normal((40, d)) + 0.5
    found = []
    for _ in range(300):
        x = rng.standard_normal((n, d))
        found.append((error_of_first(Within.of(n, blocks(x, x)), (x @ y.T).mean(axis=1)) or 0) ** 2)
    formula = 4 * float(np.sum(y.mean(axis=0) ** 2)) / n + 2 * d / (n * (n - 1))
    assert np.mean(found) == pytest.approx(formula, rel=0.08)


@pytest.mark.statistical
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_errors_are_the_spread_of_fresh_sets(shift: float) -> None:
    """The spread of 300 values has an error of 4%, more for skewed ones. Errors are right to 20%, and where the sets
    agree up to 30% too large. Without the quadratic part, or with it counted twice, agreeing sets would be out by 40%.
    """
    rng = np.random.default_rng(3)
    scale = 1 / np.sqrt(np.arange(1, 9))

    def draw(moved: float = 0.0) -> np.ndarray:
        return np.asarray((rng.standard_normal((100, 8)) + moved) * scale)

    reference = draw()
    energies, kernels = [], []
    for _ in range(300):
        x, y = draw(shift), draw()
        energies.append((energy_distance(x, y), discrepancy_error(x, y, energy_kernel) or 0))
        kernels.append((kernel_distance(reference, x).value, kernel_error(x, reference) or 0))
    for values, errors in (np.transpose(energies), np.transpose(kernels)):
        ratio = float(np.sqrt(np.mean(errors**2)) / np.std(values))
        assert 0.8 <= ratio <= (1.2 if shift else 1.3)


def test_three_rows_have_no_error() -> None:
    x = np.eye(3)
    assert error_of_first(Within.of(3, blocks(x, x)), np.zeros(3)) is None
    assert discrepancy_error(x, np.eye(5, 3), energy_kernel) is None
