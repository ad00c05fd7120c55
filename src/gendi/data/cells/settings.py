"""What a person said about an AnnData, kept with it in `uns["gendi_setup"]`, and so in the .h5ad."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gendi.errors import DataError

KEY = "gendi_setup"


@dataclass(frozen=True)
class Setup:
    """What `setup_anndata` recorded about an AnnData."""

    layer: str | None = None
    labels_key: str | None = None
    batch_key: str | None = None
    condition_keys: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of obs that were named, labels first."""
        named = (self.labels_key, self.batch_key, *self.condition_keys)
        return tuple(dict.fromkeys(key for key in named if key is not None))


def read_setup(adata: Any) -> Setup:
    """Return what `setup_anndata` recorded, or empty settings. Raises `DataError` if the record is damaged."""
    text = adata.uns.get(KEY)
    if text is None:
        return Setup()
    try:
        data = json.loads(text)
        if not isinstance(data, Mapping):
            raise TypeError("no table")
        return Setup(**{**data, "condition_keys": tuple(data.get("condition_keys", ()))})
    except (TypeError, ValueError) as error:
        raise DataError(f'adata.uns["{KEY}"] is damaged ({error}): call gendi.cells.setup_anndata again.') from error
