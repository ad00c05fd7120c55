"""Several .h5ad or AnnData as one: genes by name, columns joined, what differs said, and what does not fit refused."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cells_world import cells

import gendi
from gendi.cli import main
from gendi.data import open_data
from gendi.data.cells.kind import CELLS
from gendi.data.cells.many_places import file_names, places_of
from gendi.data.cells.rows import CountRows, JoinedCounts
from gendi.data.cells.several import open_objects
from gendi.data.places import from_here
from gendi.errors import DataError, UsageError


def two() -> tuple[Any, Any]:
    """Return cells of twelve genes, and others of which two genes have other names and the rest another order."""
    a, b = cells(60), cells(40, seed=1)
    b.obs_names = [f"other{i}" for i in range(40)]
    b.var_names = [*b.var_names[:10], "new1", "new2"]
    return a, b[:, ::-1].copy()


def written(folder: Path, *parts: Any) -> list[str]:
    paths = [str(folder / f"{name}.h5ad") for name in "abcd"[: len(parts)]]
    for path, part in zip(paths, parts, strict=True):
        part.write_h5ad(path)
    return paths


@pytest.mark.parametrize("backed", ["no", "yes"])
def test_genes_are_matched_by_name_and_rows_are_the_counts(tmp_path: Path, backed: str) -> None:
    a, b = two()
    loaded = CELLS.open(f"cells:{','.join(written(tmp_path, a, b))}?backed={backed}")
    genes = [f"gene{i}" for i in range(10)]
    assert loaded.schema["genes"] == genes and loaded.schema["var"]["chromosome"] == ["1"] * 10
    expected = np.concatenate([a[:, genes].X.toarray(), b[:, genes].X.toarray()])
    index = np.array([70, 3, 99, 3, 60])
    for rows in (slice(50, 75), index):
        np.testing.assert_array_equal(loaded.rows[rows], expected[rows])
        np.testing.assert_array_equal(loaded.rows.sparse(rows).toarray(), expected[rows])  # type: ignore[attr-defined]
    np.testing.assert_array_equal(loaded.rows[61], expected[61])
    np.testing.assert_array_equal(loaded.conditions["depth"], expected.sum(1))
    note = next(note for note in loaded.notes if "genes" in note)
    assert "10 genes are in all files" in note and "b lacks 2 (gene10, gene11)" in note and "a lacks 2 (new2" in note


def test_columns_are_joined_and_file_says_which_file() -> None:
    a, b = two()
    b.obs["cell type"] = pd.Categorical(["C"] * 40)
    b.uns["cell type_colors"] = ["#0000ff"]
    b.obs["treated"] = np.arange(40) % 2 == 0
    a.obs["plate"] = np.arange(60) % 3
    loaded = open_objects([a, b])
    specs = {spec.name: spec for spec in loaded.specs}
    assert specs["cell-type"].names == ("B", "A", "C") and specs["file"].names == ("1", "2")
    assert loaded.schema["colors"]["cell type"] == ["#ff0000", "#00ff00", "#0000ff"]
    np.testing.assert_array_equal(loaded.conditions["file"], np.repeat([0, 1], [60, 40]))
    np.testing.assert_array_equal(loaded.conditions["plate"], np.r_[np.arange(60) % 3, np.full(40, -1)])
    np.testing.assert_array_equal(loaded.conditions["treated"], np.r_[np.full(60, -1), 1 - np.arange(40) % 2])
    np.testing.assert_allclose(loaded.conditions["dose"], np.r_[a.obs["dose"], b.obs["dose"]], rtol=1e-6)
    assert specs["plate"].names == ("0", "1", "2") and specs["treated"].names == ("False", "True")


def test_what_is_said_of_one_file_begins_with_its_name() -> None:
    a, b = two()
    b.layers["counts"] = b.X.log1p()
    assert any(note.startswith("2: ") and "taken from X" in note for note in open_objects([a, b]).notes)


def test_a_column_called_file_stays() -> None:
    a, b = two()
    a.obs["file"] = b.obs["file"] = "mine"
    loaded = open_objects([a, b])
    assert {"file", "file-of-cell"} <= {spec.name for spec in loaded.specs}


def with_logarithms(b: Any) -> None:
    b.X = b.X.log1p()


def other_names(b: Any) -> None:
    b.var_names = [f"ENSG0000000{i:04d}" for i in range(12)]


def other_names_with_symbols(b: Any) -> None:
    b.var["symbol"] = [f"gene{i}" for i in range(12)]
    other_names(b)


def versions(b: Any) -> None:
    b.var_names = [f"gene{i}.2" for i in range(12)]


def capitals(b: Any) -> None:
    b.var_names = [f"GENE{i}" for i in range(12)]


def twice(b: Any) -> None:
    b.var_names = ["gene1", "gene1", *b.var_names[2:]]


def empty_in_common(b: Any) -> None:
    b.var_names = [*b.var_names[:10], "new1", "new2"]
    counts = b.X.toarray()
    counts[7, :10] = 0
    counts[7, 10] = 5
    b.X = sp.csr_matrix(counts)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_logarithms, ("2: ", "looks log1p", "must all hold counts")),
        (other_names, ("no gene in common", "symbols ('gene0'", "Ensembl ids ('ENSG", "names of one kind")),
        (other_names_with_symbols, ("adata.var_names = adata.var['symbol']",)),
        (versions, ("Without their versions they agree",)),
        (capitals, ("symbols in capitals", "different species?")),
        (twice, ("2: ", "'gene1'", "var_names_make_unique")),
        (empty_in_common, ("1 cells of 2 have no counts in the 10 genes",)),
    ],
)
def test_what_does_not_fit_is_refused_with_its_mend(change: Any, said: tuple[str, ...]) -> None:
    b = cells(40, seed=1)
    change(b)
    with pytest.raises(DataError) as error:
        open_objects([cells(), b])
    assert all(word in str(error.value) for word in said), str(error.value)


def test_places_are_named_by_commas_wildcards_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    paths = written(tmp_path / "in", *two())
    monkeypatch.chdir(tmp_path)
    assert places_of(f"{paths[1]},{paths[0]}") == paths[::-1]
    assert places_of("in/*.h5ad") == places_of("in") == ["in/a.h5ad", "in/b.h5ad"]
    assert places_of("none/*.h5ad") == ["none/*.h5ad"] and places_of("pbmc68k") == ["pbmc68k"]
    (tmp_path / "one, two.h5ad").write_bytes(b"")
    assert places_of("one, two.h5ad") == ["one, two.h5ad"]
    with pytest.raises(UsageError, match="named twice"):
        places_of("in/a.h5ad,in/*.h5ad")
    with pytest.raises(DataError, match=r"no file none/\*.h5ad"):
        open_data("none/*.h5ad")
    with pytest.raises(UsageError, match="comma"):
        open_data(["in/a.h5ad", "one, two.h5ad"])


def test_files_are_called_by_what_tells_them_apart() -> None:
    assert file_names(["x/a.h5ad", "y/b.h5ad"]) == ["a", "b"]
    assert file_names(["x/counts.h5ad", "y/counts.h5ad"]) == ["x/counts", "y/counts"]


def test_joined_rows_of_nothing() -> None:
    rows = JoinedCounts([CountRows(cells().X), CountRows(cells(5).X)])
    assert rows[np.zeros(0, np.int64)].shape == rows.sparse(np.zeros(0, np.int64)).shape == (0, 12)


def test_a_run_of_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Whole files can be held out; the run goes on, sees a change in one file, and finds the files from its folder."""
    monkeypatch.chdir(tmp_path)
    a, b = two()
    written(tmp_path, a, b)
    network = ["--network.channels", "8", "--network.blocks", "1", "--network.time-dim", "8", "--cells.factors", "2"]
    run = ["train", "a.h5ad,b.h5ad", "--condition", "file", *network]
    assert main([*run, "--steps", "1", "--split-by", "file"]) == 0
    assert "1 of its 2 groups are held out whole, 40 of 100 rows: b" in capsys.readouterr().err
    assert main(["sample", "runs/cells", "--n", "4", "--out", "fake.h5ad"]) == 0
    assert set(anndata.read_h5ad("fake.h5ad").obs["file"]) <= {"a", "b"}
    assert from_here("a.h5ad,b.h5ad", tmp_path / "runs" / "cells") == "a.h5ad,b.h5ad"
    monkeypatch.chdir(tmp_path / "runs" / "cells")
    assert from_here("a.h5ad,b.h5ad", Path()) == f"{tmp_path}/a.h5ad,{tmp_path}/b.h5ad"
    monkeypatch.chdir(tmp_path)
    b.X.data[0] += 1
    written(tmp_path, a, b)
    capsys.readouterr()
    assert main([*run, "--steps", "2", "--split-by", "file"]) != 0
    assert "--allow-data-change" in capsys.readouterr().err


def test_python_takes_paths_and_objects(tmp_path: Path) -> None:
    a, b = two()
    paths = written(tmp_path, a, b)
    named, held = open_data([paths[0], Path(paths[1])]), open_data([a, b])
    assert named.spec == ",".join(paths) and len(named.train) + len(named.heldout) == 100
    np.testing.assert_array_equal(named.train.rows[:], held.train.rows[:])


def test_check_looks_at_all_files(tmp_path: Path, capsys: Any) -> None:
    a, b = two()
    places = ",".join(written(tmp_path, a, b))
    assert main(["cells", "check", places]) == 0
    told = capsys.readouterr().out
    assert "b lacks 2" in told and "a: X" in told and "b: X" in told and "file" in told
    with_logarithms(b)
    written(tmp_path, a, b)
    assert main(["cells", "check", places]) == 3
    assert "b: " in capsys.readouterr().out


def test_gendi_fits_several(tmp_path: Path) -> None:
    model = gendi.fit(list(two()), out=tmp_path / "run", steps=1, condition="file", quiet=True)
    assert set(gendi.sample(model, 6, condition={"file": "2"}).obs["file"]) == {"2"}
