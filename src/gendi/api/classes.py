"""Which class each sample of a request is asked to be, and samples for which none is asked, to measure classes by."""

import dataclasses

import numpy as np
from jaxtyping import Int64

from gendi.api.prepared import Prepared
from gendi.api.request import Request
from gendi.data.dataset import Data
from gendi.train.kept.bundle import Bundle

CLASS = "class"
FREE = 500
"""Most samples that are drawn without a class."""


def asked_classes(prepared: Prepared, data: Data) -> Int64[np.ndarray, " n"] | None:
    """Return the class that each sample of a request is asked to be, -1 for none; None where the model is not asked for
    classes, or knows others than the data."""
    spec = next((spec for spec in prepared.models.conditions if spec.name == CLASS and spec.kind == CLASS), None)
    if spec is None or CLASS not in prepared.cond:
        return None
    if not any((s.name, s.size, s.names) == (CLASS, spec.size, spec.names) for s in data.conditions):
        return None
    return prepared.cond[CLASS].cpu().numpy().astype(np.int64)


def without_class(request: Request, bundle: Bundle, most: int = FREE) -> Request | None:
    """Return a request of up to `most` samples that are drawn without a class or any other condition.

    None if the model does not know its null condition, as it was never without one in training; if it knows no classes;
    or if conditions are requested, because then these samples are not the whole of the data.
    """
    specs = bundle.config.conditions
    if request.condition or CLASS not in {spec.name for spec in specs} or any(spec.dropout <= 0 for spec in specs):
        return None
    nothing = {CLASS: None}
    return dataclasses.replace(
        request, n=min(request.n, most), condition=nothing, per_class=None, guidance=None, guides={}, proportions=None
    )
