"""Requests of which the training data say little: numbers outside them, and classes of few rows."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.standing import FEW, in_words, rare_of, rows_by_class
from gendi.data.vectors import VectorCodec
from gendi.diffusion.config import ConditionConfig

FAR = 4.0
"""Where the range of the training data is not known: how many standard deviations from their mean is far."""


def outside(codec: Codec, specs: Sequence[ConditionConfig], cond: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return a sentence for each condition of the kind `value` in `cond`, (n,) each, that leaves the training data.

    It names the number that is furthest out, and how far that is: beyond the least or the greatest number of the
    training rows, where the codec remembers these, and in standard deviations of the training rows.
    """
    found = []
    for spec in specs:
        if spec.kind != "value" or spec.name not in cond:
            continue
        asked = _known(cond[spec.name])
        rows = codec.training_conditions.get(spec.name) if isinstance(codec, VectorCodec) else None
        known = np.empty(0) if rows is None else _known(rows)
        if len(asked) and (said := _range(spec, asked, known) if len(known) else _spread(spec, asked)):
            found.append(said)
    return tuple(found)


def rare(codec: Codec, specs: Sequence[ConditionConfig], cond: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return a sentence for each condition in `cond`, (n,) each, that asks for classes of few training rows.

    It says how many rows these classes have. Only codecs that remember the conditions of their rows can tell.
    """
    if not isinstance(codec, VectorCodec):
        return ()
    found = []
    asked = rows_by_class(specs, {name: rows.cpu().numpy() for name, rows in cond.items() if rows.ndim == 1})
    known = rows_by_class(specs, {name: rows.numpy() for name, rows in codec.training_conditions.items()})
    for name, counts in asked.items():
        few = rare_of({label: n for label, n in known.get(name, {}).items() if counts[label]})
        if few:
            found.append(
                f"Fewer than {FEW} training rows stand behind these classes of {name}: {in_words(few)}. However many "
                "samples are drawn, they know no more of a class than its rows do."
            )
    return tuple(found)


def _known(value: Tensor) -> Float64[np.ndarray, " n"]:
    numbers = value.detach().cpu().numpy().astype(np.float64).reshape(-1)
    return np.asarray(numbers[~np.isnan(numbers)])


def _range(spec: ConditionConfig, asked: Float64[np.ndarray, " n"], known: Float64[np.ndarray, " m"]) -> str:
    low, high = float(known.min()), float(known.max())
    beyond = np.maximum(low - asked, asked - high)
    worst = int(beyond.argmax())
    if beyond[worst] <= 1e-6 * max(abs(low), abs(high)):
        return ""
    side = "below their smallest value" if asked[worst] < low else "above their largest value"
    std = float(known.std())
    spreads = f", or {beyond[worst] / std:.3g} of their standard deviations" if std > 0 else ""
    return (
        f"{spec.name} = {asked[worst]:,.6g} lies outside the training data, which have {low:,.6g} to {high:,.6g}: it "
        f"is {beyond[worst]:,.4g} {side}{spreads}. The model learnt nothing there, so do not trust these samples."
    )


def _spread(spec: ConditionConfig, asked: Float64[np.ndarray, " n"]) -> str:
    away = np.abs(asked - spec.mean) / spec.std
    worst = int(away.argmax())
    if away[worst] <= FAR:
        return ""
    return (
        f"{spec.name} = {asked[worst]:,.6g} is far from the training data: {away[worst]:,.3g} of their standard "
        f"deviations from their mean, {spec.mean:,.6g}. The model learnt little there, so do not trust these samples."
    )
