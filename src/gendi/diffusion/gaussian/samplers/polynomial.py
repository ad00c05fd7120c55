"""Integrals of a polynomial against an exponential, from its values at some nodes.

    int_0^1 z e^(-z v) q(v) dv = sum_j w_j q(v_j)        for every polynomial q that the nodes v_j determine,

w_j is the integral of Lagrange's polynomial of node j, which follows from its coefficients and the moments of the
powers of v. z is the length of a step in the variable of the exponential, and v counts back from the end of the step:
it is 0 there, 1 at the start of the step, and larger at earlier times.
"""

import math
from collections.abc import Sequence


def moments(n: int, z: float) -> list[float]:
    """Return int_0^1 z e^(-z v) v^k dv for k < n, each from the one before by parts; z may have either sign."""
    if abs(z) < 1:  # integration by parts would lose the factor z^-k of precision
        return [z * sum((-z) ** j / (math.factorial(j) * (k + j + 1)) for j in range(18)) for k in range(n)]
    values = [-math.expm1(-z)]
    for k in range(1, n):
        values.append(k / z * values[-1] - math.exp(-z))
    return values


def weights(nodes: Sequence[float], z: float) -> list[float]:
    """Return the weight of the value at each node; no two nodes may be equal."""
    return _weights(nodes, moments(len(nodes), z))


def plain_weights(nodes: Sequence[float]) -> list[float]:
    """Return the weights of the values in int_0^1 q(v) dv, without an exponential; no two nodes may be equal."""
    return _weights(nodes, [1 / (k + 1) for k in range(len(nodes))])


def _weights(nodes: Sequence[float], integrals: Sequence[float]) -> list[float]:
    """Return the integral of Lagrange's polynomial of each node, from the integrals of 1, v, v^2, ..."""
    found = []
    for j, node in enumerate(nodes):
        coefficients = [1.0]  # of v^0, v^1, ...
        for other in (*nodes[:j], *nodes[j + 1 :]):
            above, below = [0.0, *coefficients], [*coefficients, 0.0]
            coefficients = [(a - other * b) / (node - other) for a, b in zip(above, below, strict=True)]
        found.append(sum(c * m for c, m in zip(coefficients, integrals, strict=True)))
    return found
