"""Cells in a plane, by principal components and as a UMAP, and what the page of perturbed cells shows of them."""

import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from gendi.cells import perturbation
from gendi.data.cells.normalise import log_normalise
from gendi.report.cell_plane import PCA, UMAP, draw_plane, in_plane
from gendi.report.perturbation import write_perturbation_page
from gendi.report.style import DARK, LIGHT, png


def groups(sizes: tuple[int, ...] = (30, 25, 20)) -> list[Any]:
    """Return counts of groups of cells; in all but the first one, half of the genes are four times as high."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(3.0, 3.0, 40)
    up = rates * np.where(np.arange(40) < 20, 4.0, 1.0)
    return [rng.poisson(rates if i == 0 else up, (n, 40)) for i, n in enumerate(sizes)]


def test_the_plane_is_that_of_the_first_two_principal_components() -> None:
    cells = groups()
    points, how = in_plane(cells, PCA)
    assert how == PCA and [len(part) for part in points] == [30, 25, 20]
    logs = log_normalise(np.concatenate(cells))
    _, _, axes = np.linalg.svd(logs - logs.mean(0), full_matrices=False)
    z = (logs - logs.mean(0)) @ axes[:2].T
    found = np.concatenate(points)
    for j in range(2):  # up to the sign of an axis
        assert abs(np.corrcoef(found[:, j], z[:, j])[0, 1]) == pytest.approx(1)
        assert np.std(found[:, j]) == pytest.approx(np.std(z[:, j]))


def test_without_the_package_or_with_few_cells_it_is_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_plane(groups((5, 4, 4)), UMAP)[1] == PCA
    monkeypatch.setitem(sys.modules, "umap", None)  # as if it were not installed
    points, how = in_plane(groups(), UMAP)
    assert how == PCA and np.array_equal(points[0], in_plane(groups(), PCA)[0][0])


@pytest.mark.slow
def test_a_umap_keeps_groups_apart_and_is_the_same_again() -> None:
    pytest.importorskip("umap")
    points, how = in_plane(groups(), UMAP)
    assert how == UMAP
    side = np.repeat([0, 1, 1], [30, 25, 20])
    found = np.concatenate(points)
    far = np.linalg.norm(found[:, None] - found, axis=2) + 1e9 * np.eye(len(found))
    assert (side[far.argmin(1)] == side).mean() > 0.95  # groups are 10 standard errors apart
    assert np.array_equal(found, np.concatenate(in_plane(groups(), UMAP)[0]))


def test_both_themes_are_drawn() -> None:
    points, how = in_plane(groups(), PCA)
    light, dark = (png(draw_plane(points, ["a", "b", "c"], how, theme), theme) for theme in (LIGHT, DARK))
    assert light[:4] == dark[:4] == b"\x89PNG" and light != dark


def test_the_page_shows_cells_of_a_fitted_model_and_not_of_a_stored_one(tmp_path: Path) -> None:
    control, treated, more = groups()
    x = np.concatenate([control, treated, more])
    obs = pd.DataFrame({"gene": ["ctrl"] * len(control) + ["KLF1"] * (len(x) - len(control))})
    adata = anndata.AnnData(x, obs=obs.set_index(pd.Index([f"c{i}" for i in range(len(x))])))
    model = perturbation.fit(adata, drug="gene", control="ctrl")
    text = write_perturbation_page(model, tmp_path / "fitted.html").read_text(encoding="utf-8")
    assert "Cells, in the plane of the first two principal components" in text
    again = perturbation.load(perturbation.save(model, tmp_path / "m"))
    assert "Cells, in" not in write_perturbation_page(again, tmp_path / "stored.html").read_text(encoding="utf-8")
