"""Single cells: integer counts in, integer counts out. The extra `cells` installs anndata and scanpy."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gendi.data.cells.setup import setup_anndata

__all__ = ["setup_anndata"]


def __getattr__(name: str) -> Any:
    if name == "setup_anndata":
        from gendi.data.cells.setup import setup_anndata

        return setup_anndata
    raise AttributeError(f"module 'gendi.data.cells' has no attribute {name!r}")
