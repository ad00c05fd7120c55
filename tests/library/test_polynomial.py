"""Weights of polynomial integrals against mpmath's quadrature, for both callers."""

from collections.abc import Sequence

import mpmath
import pytest
from mpmath import mp, mpf

from gendi.diffusion.gaussian.samplers import exponential
from gendi.diffusion.gaussian.samplers.exponential import Prediction
from gendi.diffusion.gaussian.samplers.polynomial import moments, weights

LENGTHS = [1e-8, 1e-4, 0.03, 0.7, 0.999, 1.001, 4.0, 30.0]


@pytest.mark.parametrize("z", [sign * z for z in LENGTHS for sign in (1, -1)])
def test_moments(z: float) -> None:
    """The step by parts from k - 1 to k takes k / z of the error along, 6 in all at z = 1, and loses as much again to
    the difference of two numbers of e^|z|.
    """
    with mp.workdps(40):
        for k, found in enumerate(moments(4, z)):
            exact = mpmath.quad(lambda v, k=k: mpf(z) * mpmath.exp(-mpf(z) * v) * v**k, [0, min(1, 1 / abs(z)), 1])
            assert found == pytest.approx(float(exact), rel=2e-14)


@pytest.mark.parametrize("nodes", [(1.0,), (1.0, 1.7), (0.0, 1.0), (1.0, 2.5, 3.0), (0.0, 1.0, 1.2, 4.0)])
@pytest.mark.parametrize("z", [sign * z for z in LENGTHS for sign in (1, -1)])
def test_polynomials_are_integrated(nodes: Sequence[float], z: float) -> None:
    """Rounding errs by some 1e-16 of the weights' sizes, which the coefficients of Lagrange's polynomials (up to 30
    here) exceed.
    """
    found = weights(nodes, z)
    with mp.workdps(40):
        for k in range(len(nodes)):
            exact = mpmath.quad(lambda v, k=k: mpf(z) * mpmath.exp(-mpf(z) * v) * v**k, [0, min(1, 1 / abs(z)), 1])
            got = sum(w * node**k for w, node in zip(found, nodes, strict=True))
            size = sum(abs(w) * node**k for w, node in zip(found, nodes, strict=True))
            assert abs(got - float(exact)) < 30 * 4e-16 * (size + abs(float(exact)))


@pytest.mark.parametrize(("prediction", "rate"), [("x0", 1), ("eps", -1)])
@pytest.mark.parametrize("h", [1e-6, 0.01, 0.7, 5.0])
def test_exponential_integrators_small_steps_too(prediction: Prediction, rate: int, h: float) -> None:
    """Nodes at 0, -0.6 h, -1.7 h and h; their Lagrange coefficients are below 10."""
    nodes = [0.0, -0.6 * h, -1.7 * h, h]
    found = exponential.weights(nodes, h, prediction)
    with mp.workdps(40):
        for k in range(4):
            exact = mpmath.quad(lambda tau, k=k: mpmath.exp(rate * (tau - mpf(h))) * (tau / mpf(h)) ** k, [0, mpf(h)])
            got = sum(w * (node / h) ** k for w, node in zip(found, nodes, strict=True))
            size = sum(abs(w) * abs(node / h) ** k for w, node in zip(found, nodes, strict=True))
            assert abs(got - float(exact)) < 30 * 4e-16 * (size + abs(float(exact)))
