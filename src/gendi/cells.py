"""Single cells under a short name: integer counts in, integer counts out. They live in
`gendi.data.cells`."""

from typing import TYPE_CHECKING

from gendi.machine.lazy import lazy_names

if TYPE_CHECKING:
    from gendi.api import perturbation as perturbation
    from gendi.api.encode_cells import encode as encode
    from gendi.data.cells.recover import recover_counts as recover_counts
    from gendi.data.cells.scoring import Scores as Scores
    from gendi.data.cells.scoring import score as score
    from gendi.data.cells.setup import setup_anndata as setup_anndata

_HOMES = {
    "Scores": "gendi.data.cells.scoring",
    "encode": "gendi.api.encode_cells",
    "perturbation": "gendi.api",
    "recover_counts": "gendi.data.cells.recover",
    "score": "gendi.data.cells.scoring",
    "setup_anndata": "gendi.data.cells.setup",
}
__all__ = ["Scores", "encode", "perturbation", "recover_counts", "score", "setup_anndata"]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
