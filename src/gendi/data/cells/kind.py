"""The kind of data `cells`: see `gendi.data.kinds.Kind`."""

from typing import Any

from gendi.data.cells.fit import CODECS as CODECS
from gendi.data.cells.fit import fit as fit
from gendi.data.cells.output import present as present
from gendi.data.cells.output import write as write
from gendi.data.cells.read import open_object as open_object
from gendi.data.cells.read import open_path as open_path
from gendi.data.open import Data
from gendi.evaluate.result import Evaluation

SUFFIXES = (".h5ad",)


def evaluate(samples: Any, data: Data, **options: Any) -> Evaluation:
    """Measure cells, an AnnData or an .h5ad: see `gendi.data.cells.evaluate`."""
    from gendi.data.cells.evaluate import evaluate as measure

    return measure(samples, data, **options)
