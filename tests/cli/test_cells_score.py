"""`gendi cells score`: what it prints, and what it says of files that do not fit."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

KEYS = ("--control", "DMSO", "--perturbation", "drug")
GENES = [f"gene{i}" for i in range(20)]


def made(seed: int = 0, counts: bool = False, total: float = 1e4) -> Any:
    """Return cells of two types under two drugs at two doses, and controls."""
    rng = np.random.default_rng(seed)
    parts, rows = [], []
    for cell_type in ("T", "B"):
        for drug, dose in [("DMSO", 0.0), *((f"drug{d}", x) for d in "AB" for x in (1.0, 10.0))]:
            rates = np.full(20, 30.0)
            rates[: 0 if drug == "DMSO" else 4] *= 1 + dose / 4
            parts.append(rng.poisson(rates, (12, 20)))
            rows += [(cell_type, drug, dose)] * 12
    x = np.concatenate(parts).astype(np.float32)
    if not counts:
        x = np.log1p(x / x.sum(1, keepdims=True) * total)
    obs = pd.DataFrame(rows, columns=["type", "drug", "dose"], index=[f"c{i}" for i in range(len(x))])
    return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=GENES))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.chdir(tmp_path)

    def write(predicted: Any = None, real: Any = None) -> None:
        (made(1) if predicted is None else predicted).write_h5ad("pred.h5ad")
        (made(2) if real is None else real).write_h5ad("real.h5ad")

    return write


def test_all_metrics_stand_beside_all_references(gendi: Callable[..., Any], files: Callable[..., None]) -> None:
    files()
    line = ("cells", "score", "pred.h5ad", "real.h5ad", *KEYS, "--cell-type", "type", "--dose", "dose")
    shown = gendi(*line, "--out", "each.csv")
    assert shown.code == 0
    for word in ("pearson", "pearson-changed", "slope", "overlap", "mae", "energy", "mmd", "rank", "95% interval"):
        assert word in shown.out
    for word in ("control", "training mean", "additive", "ridge", "interpolation", "ceiling"):
        assert word in shown.out
    assert "training mean" in shown.out.partition("lower\n\n")[2]
    each = pd.read_csv("each.csv")
    assert len(each) == 8 * 7
    found = json.loads(gendi(*line, "--json").out)
    whole = found["scores"]["prediction"]["mae"]
    assert whole["interval"][0] < whole["value"] < whole["interval"][1]
    assert each[each["model"] == "prediction"]["mae"].mean() == pytest.approx(whole["value"])


def test_genes_are_matched_by_name_and_those_of_one_file_are_asked_about(
    gendi: Callable[..., Any], files: Callable[..., None]
) -> None:
    line = ("cells", "score", "pred.h5ad", "real.h5ad", *KEYS, "--json")
    files()
    whole = json.loads(gendi(*line).out)["scores"]
    files(predicted=made(1)[:, ::-1].copy())
    mixed = gendi(*line)
    assert json.loads(mixed.out)["scores"] == whole
    assert "another order" in mixed.err
    files(predicted=made(1)[:, 3:].copy())
    refused = gendi(*line)
    assert refused.code == 3
    assert "3 of the 20 genes" in refused.err and "gene0, gene1, gene2" in refused.err
    assert "--shared-genes" in refused.err
    allowed = gendi(*line, "--shared-genes")
    assert allowed.code == 0 and json.loads(allowed.out)["genes"] == 17


def renamed(column: str, old: Any, new: Any) -> Any:
    out = made(1)
    out.obs[column] = out.obs[column].replace(old, new)
    return out


def with_gaps(column: str, n: int) -> Any:
    out = made(1)
    out.obs[column] = out.obs[column].astype(object)
    out.obs.iloc[20 : 20 + n, out.obs.columns.get_loc(column)] = None
    return out


def unlike(what: str) -> Any:
    out = made(1)
    match what:
        case "nan":
            out.X[3, 4] = np.nan
        case "z":
            out.X = (out.X - out.X.mean(0)) / out.X.std(0)
        case "names":
            out.var_names = [f"ENSG{i:05}" for i in range(20)]
        case "twice":
            out.var_names = ["gene0", "gene0", *GENES[2:]]
    return out


@pytest.mark.parametrize(
    ("predicted", "code", "said"),
    [
        (lambda: made(1, counts=True), 3, ("pred.h5ad looks like counts", "real.h5ad like log1p", "10,000 per cell")),
        (lambda: made(1, total=1e6), 3, ("1,000,000 per cell", "10,000 per cell")),
        (lambda: unlike("z"), 3, ("z-scores",)),
        (lambda: unlike("nan"), 3, ("NaN", "1 entries")),
        (lambda: unlike("names"), 3, ("no gene in common", "ENSG00000", "gene0")),
        (lambda: unlike("twice"), 3, ("'gene0'", "var_names_make_unique")),
        (lambda: renamed("drug", "drugA", "DrugA"), 3, ("'DrugA'", "Perhaps it is 'drugA'")),
        (lambda: renamed("type", "T", "T cell"), 3, ("cell type 'T cell'",)),
        (lambda: renamed("dose", 10.0, 3.0), 3, ("drugA at 3 in B", "drugA at 1 in B")),
        (lambda: with_gaps("drug", 7), 3, ("7 of the 120 cells", "'drug'")),
        (lambda: with_gaps("type", 2), 3, ("2 of the 120 cells",)),
        (lambda: renamed("dose", 10.0, -1.0), 3, ("48 treated cells", "'dose'")),
        (lambda: made(1)[made(1).obs["drug"] == "DMSO"].copy(), 3, ("Every cell of pred.h5ad is a control",)),
    ],
)
def test_what_does_not_fit_is_one_clear_paragraph(
    predicted: Callable[[], Any],
    code: int,
    said: tuple[str, ...],
    gendi: Callable[..., Any],
    files: Callable[..., None],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata, on names that are not unique
        files(predicted=predicted())
        shown = gendi("cells", "score", "pred.h5ad", "real.h5ad", *KEYS, "--cell-type", "type", "--dose", "dose")
    assert shown.code == code, shown.err
    assert all(word in shown.err for word in said), shown.err
    assert "Traceback" not in shown.err and shown.out == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--control", "DSMO", "--perturbation", "drug"), 2, "'DMSO'"),
        (("--control", "DMSO", "--perturbation", "drugs"), 2, "'drug'"),
        (("--control", "DMSO"), 2, "--perturbation must be given"),
        ((*KEYS, "--layer", "countz"), 2, "countz"),
        ((*KEYS, "--out", "each.txt"), 2, ".csv"),
    ],
)
def test_flags_that_name_nothing(
    words: tuple[str, ...], code: int, said: str, gendi: Callable[..., Any], files: Callable[..., None]
) -> None:
    files()
    shown = gendi("cells", "score", "pred.h5ad", "real.h5ad", *words)
    assert shown.code == code and said in shown.err, shown.err


def test_counts_are_taken_where_logarithms_differ(gendi: Callable[..., Any], files: Callable[..., None]) -> None:
    predicted, real = made(1, total=1e6), made(2)
    for each, seed in ((predicted, 1), (real, 2)):
        each.layers["counts"] = made(seed, counts=True).X
    line = ("cells", "score", "pred.h5ad", "real.h5ad", *KEYS, "--json")
    files(predicted, real)
    shown = gendi(*line)
    assert "X differs in scale" in shown.err
    files(made(1, counts=True), made(2, counts=True))
    assert json.loads(gendi(*line).out)["scores"] == json.loads(shown.out)["scores"]


def test_controls_may_be_missing_in_the_prediction(gendi: Callable[..., Any], files: Callable[..., None]) -> None:
    predicted = made(1)
    files(predicted=predicted[predicted.obs["drug"] == "drugA"].copy())
    shown = gendi("cells", "score", "pred.h5ad", "real.h5ad", *KEYS, "--json")
    assert "lacks controls" in shown.err
    found = json.loads(shown.out)
    assert list(found["conditions"]) == ["drugA"]
    assert "that were not predicted" in " ".join(found["explanation"])


def test_the_commands_of_cells_are_listed(gendi: Callable[..., Any]) -> None:
    shown = gendi("cells", "--help")
    assert shown.code == 0 and "gendi cells check" in shown.out and "gendi cells score" in shown.out
    assert "'cells score'" in gendi("cells", "scores", "a").err
