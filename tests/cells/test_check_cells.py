"""`gendi cells check`: what is there, what is wrong, how to mend it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cells_world import cells

from gendi.cli import main
from gendi.data import open_data
from gendi.data.cells import setup_anndata
from gendi.data.cells.check import check_cells
from gendi.data.cells.config import CellsConfig
from gendi.data.cells.kind import CELLS
from gendi.data.cells.read import open_object
from gendi.errors import DataError


def test_a_sound_file() -> None:
    adata = cells()
    counts = adata.X.toarray()
    report = check_cells(adata)
    assert (report.cells, report.genes, report.counts, report.usable) == (60, 12, "X", True)
    assert report.depth == (counts.sum(1).min(), np.median(counts.sum(1)), counts.sum(1).max())
    assert report.zeros == pytest.approx((counts == 0).mean())
    named = {c.name: c for c in report.conditions}
    assert named["cell-type"].counts == {"B": 40, "A": 20}
    shallow, *rare = report.problems  # the depth is small, and so are the classes of sixty cells
    assert {p.severity for p in report.problems} == {"warning"} and "fewer than" in shallow.what
    assert [p.what.split(":")[0] for p in rare] == ["cell-type", "batch"]


def test_everything_that_is_wrong_at_once() -> None:
    adata = cells(n=40)
    counts = adata.X.toarray()
    counts[7], counts[:, 5] = 0, 0
    adata.X = sp.csr_matrix(counts)
    adata.var_names = ["gene1", *adata.var_names[1:]]
    adata.obs["rare"] = np.where(np.arange(40) == 3, "one", "many")
    report = check_cells(adata)
    said = {problem.what: problem for problem in report.problems}
    assert not report.usable and report.silent_genes == 1
    for part, severity, mend in [
        ("names of var", "error", "var_names_make_unique"),
        ("1 cells have no counts, the first is 'cell7'", "error", "filter_cells"),
        ("1 genes have no counts", "warning", "filter_genes"),
        ("fewer than 10 cells: one (1)", "warning", "join"),
        ("there are 40 cells", "warning", "hundreds"),
    ]:
        found = [problem for what, problem in said.items() if part in what]
        assert found and found[0].severity == severity and mend in found[0].mend, part


@pytest.mark.parametrize("change", [np.log1p, lambda x: x - x.mean(0), lambda x: x[:0]])
def test_what_is_no_count_matrix_is_an_error_with_a_mend(change: Any, tmp_path: Path, capsys: Any) -> None:
    adata = cells()
    matrix = change(adata.X.toarray().astype(np.float64))
    adata = adata[: len(matrix)].copy()
    adata.X = matrix
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert main(["cells", "check", str(tmp_path / "a.h5ad"), "--json"]) == 3
    out = json.loads(capsys.readouterr().out)
    assert not out["usable"] and out["problems"][0]["severity"] == "error" and out["problems"][0]["mend"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells().write_h5ad(tmp_path / "a.h5ad")
    assert main(["cells", "check", str(tmp_path / "a.h5ad")]) == 0
    out = capsys.readouterr().out
    assert "cell-type" in out and "B 40, A 20" in out and "looks like counts" in out
    assert main(["cells", "check", str(tmp_path / "a.h5ad"), "--layer", "umi"]) == 2
    assert "X" in capsys.readouterr().err
    assert main(["cells", "check"]) == 2 and main(["cells", "check", "a.csv"]) == 2
    assert main(["cells", "check", str(tmp_path / "none.h5ad")]) == 3
    capsys.readouterr()
    assert main(["cells", "--help"]) == 0 and "gendi cells check" in capsys.readouterr().out


@pytest.mark.parametrize("gone", [True, False])
def test_a_named_column_that_is_no_condition_any_more_is_one_problem_among_others(gone: bool) -> None:
    adata = cells(n=40)
    setup_anndata(adata, labels_key="cell type", batch_key="batch")
    if gone:
        del adata.obs["batch"]
    else:
        adata.obs["batch"] = pd.Series([1, "a"] * 20, index=adata.obs_names, dtype=object)
    with pytest.raises(DataError, match=r"obs\['batch'\].*setup_anndata"):
        open_object(adata)
    report = check_cells(adata)
    errors = [problem for problem in report.problems if problem.severity == "error"]
    assert len(errors) == 1 and "obs['batch']" in errors[0].what and errors[0].mend
    assert any("there are 40 cells" in problem.what for problem in report.problems) and not report.usable
    assert "cell-type" in [condition.name for condition in report.conditions]


def test_classes_of_few_cells_are_named_with_their_numbers() -> None:
    adata = cells(n=120)
    adata.obs["kind"] = np.where(np.arange(120) < 12, "rare", "common")
    [problem] = [p for p in check_cells(adata).problems if p.what.startswith("kind")]
    assert problem.severity == "warning" and "1 of 2 classes have fewer than 50 cells: rare (12)" in problem.what


def test_a_dry_run_lists_conditions_with_the_cells_of_their_classes_and_training_notes_the_rare_ones() -> None:
    data = open_data(cells())
    found = {name: (kind, holds) for name, kind, holds in CELLS.parts(data)}
    assert found["cell-type"] == ("class", "B (32), A (16)") and found["dose"] == ("value", "")
    given = [spec for spec in data.conditions if spec.name == "cell-type"]
    noted = CELLS.grouped(data, given, 0, CellsConfig())
    assert "these classes of cell-type: A (16), B (32); where" in noted.notes[-1]
    assert CELLS.grouped(data, [], 0, CellsConfig(clusters=0)).notes == data.notes
