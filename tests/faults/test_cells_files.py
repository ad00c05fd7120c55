"""An .h5ad that cannot be trained on: the command says what is wrong with which gene, cell, layer or column, and how to
mend it, and leaves nothing behind.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gendi.cli import main
from gendi.data import open_data
from gendi.errors import DataError

anndata = pytest.importorskip("anndata")

CELLS, GENES = 30, 6


def counts() -> Any:
    return 1 + np.random.default_rng(0).poisson(3.0, (CELLS, GENES)).astype(np.float32)


def changed(value: float) -> Callable[[Any], None]:
    """Put `value` where cell 7 has its count of gene 2."""

    def change(adata: Any) -> None:
        adata.X[7, 2] = value

    return change


def no_matrix(adata: Any) -> None:
    adata.X = None


def empty_cell(adata: Any) -> None:
    adata.X[8] = 0


def twice(adata: Any) -> None:
    adata.var_names = ["gene1", *adata.var_names[1:]]


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("change", "flags", "code", "said"),
    [
        (no_matrix, (), 3, ("no matrix at all",)),
        (changed(-1.0), (), 3, ("negative",)),
        (changed(2.5), (), 3, ("fractions", "before normalising")),
        (changed(float("nan")), (), 3, ("not finite",)),
        (empty_cell, (), 3, ("cell8", "filter_cells")),
        (twice, (), 3, ("gene1", "var_names_make_unique")),
        (lambda adata: None, ("--layer", "umi"), 2, ("umi",)),  # what a flag names and is not there is bad usage
        (lambda adata: None, ("--condition", "cell_typ"), 2, ("cell_typ", "cell_type")),
    ],
)
def test_h5ad_that_is_no_counts_names_gene_or_column_and_the_mend(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Any], None],
    flags: tuple[str, ...],
    code: int,
    said: tuple[str, ...],
) -> None:
    adata = anndata.AnnData(counts())
    adata.obs_names = [f"cell{i}" for i in range(CELLS)]
    adata.var_names = [f"gene{i}" for i in range(GENES)]
    adata.obs["cell_type"] = ["a", "b", "c"] * (CELLS // 3)
    change(adata)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    run = tmp_path / "run"
    assert main(["train", f"cells:{tmp_path / 'cells.h5ad'}", *flags, "--steps", "1", "--out", str(run)]) == code
    told = capsys.readouterr().err
    assert all(word in told for word in said), told
    assert "Traceback" not in told and not run.exists()


@pytest.mark.parametrize("cut", [0, 7, 2000])
def test_truncated_h5ad_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], cut: int) -> None:
    path = tmp_path / "cells.h5ad"
    anndata.AnnData(counts()).write_h5ad(path)
    path.write_bytes(path.read_bytes()[:cut])
    assert main(["train", f"cells:{path}", "--steps", "1", "--out", str(tmp_path / "run")]) == 3
    told = capsys.readouterr().err
    assert str(path) in told and "could not be read as an .h5ad" in told


def test_h5ad_that_is_cut_off_while_it_is_read_is_exit_3(tmp_path: Path) -> None:
    """A matrix that stays on the disk is read when its rows are needed."""
    path = tmp_path / "cells.h5ad"
    adata = anndata.AnnData(np.random.default_rng(0).poisson(3.0, (4000, 300)).astype(np.float32))
    adata.write_h5ad(path)
    rows = open_data(f"cells:{path}?backed=yes").train
    assert rows.batch([0]).sum() > 0
    os.truncate(path, 100_000)
    with pytest.raises(DataError, match="changed or was cut off while it was read"):
        rows.batch(range(len(rows)))
