"""Whole groups are held out: what the split keeps apart, how a text says it, and what cannot be split."""

import anndata
import numpy as np
import pandas as pd
import pytest

from gendi.data import open_data
from gendi.data.groups import Groups, hold_out_groups
from gendi.data.sources import split_column, with_split
from gendi.data.split import Split
from gendi.errors import DataError, UsageError


def people(n: int = 120, donors: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "height": rng.normal(170, 9, n),
            "sex": rng.choice(["f", "m"], n),
            "donor": [f"d{i}" for i in rng.integers(0, donors, n)],
        }
    )


def cells(n: int = 120, donors: int = 6) -> anndata.AnnData:
    rng = np.random.default_rng(1)
    obs = people(n, donors).set_index(np.array([f"c{i}" for i in range(n)]))
    return anndata.AnnData(rng.poisson(3.0, (n, 9)) + np.eye(1, 9, dtype=int), obs=obs)


@pytest.mark.parametrize("sizes", [(10,) * 10, (90, 5, 5), (1, 99), (50, 50), (3, 4, 60, 20, 13)])
def test_no_group_is_on_both_sides_and_about_a_fifth_of_the_rows_is_held_out(sizes: tuple[int, ...]) -> None:
    of = np.random.default_rng(2).permutation(np.repeat(np.arange(len(sizes)), sizes))
    whole = Split(np.arange(len(of))[:, None], {"x": of})
    train, heldout, notes = hold_out_groups(
        whole, Groups("g", of, tuple("abcdefghij"[: len(sizes)])), np.random.default_rng(0)
    )
    assert train.groups is not None and heldout.groups is not None
    assert not set(train.groups) & set(heldout.groups)
    assert set(train.groups) | set(heldout.groups) == set(range(len(sizes)))
    rows = [part.batch(range(len(part)))[:, 0] for part in (train, heldout)]
    assert sorted(np.concatenate(rows)) == list(range(len(of)))
    assert np.array_equal(train.groups, train.conditions["x"])
    smallest = min(sizes)
    assert len(heldout) <= max(0.2 * len(of), smallest)
    others = [size for group, size in enumerate(sizes) if group in set(train.groups)]
    assert len(heldout) == smallest or len(heldout) + min(others) > 0.2 * len(of)  # no other group would fit
    assert f"{len(set(heldout.groups))} of its {len(sizes)} groups" in notes[0]


@pytest.mark.parametrize("column", ["donor", "a & b", "50% = half", "x?y"])
def test_a_text_says_which_column_splits(column: str) -> None:
    assert split_column(with_split("people.csv", column)) == column
    assert split_column(with_split("people.h5ad?layer=counts", column)) == column
    assert split_column("people.csv") is None and split_column(people()) is None
    assert with_split(with_split("people.csv", column), column) == with_split("people.csv", column)
    with pytest.raises(UsageError, match="already"):
        with_split("people.csv?split-by=batch", column)


def test_tables_and_cells_are_split_from_files_and_from_memory(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    people().to_parquet("people.parquet")
    cells().write_h5ad("cells.h5ad")
    wanted = people()["donor"].to_numpy()
    found = []
    for spec in ("people.csv?split-by=donor", "people.parquet?split-by=donor", "cells.h5ad?split-by=donor"):
        found.append(open_data(spec))
        assert found[-1].spec == spec
    found += [open_data("people.csv", split_by="donor"), open_data(people(), split_by="donor")]
    found.append(open_data(cells(), split_by="donor"))
    for data in found:
        assert data.split_by == "donor"
        assert data.train.groups is not None and data.heldout.groups is not None
        assert not set(data.train.groups) & set(data.heldout.groups)
        sizes = [len(data.train), len(data.heldout)]
        held = np.isin(wanted, [f"d{i}" for i in set(data.heldout.groups)])
        assert sizes == [120 - held.sum(), held.sum()]
        assert any("split by donor" in note for note in data.notes)
        again = open_data(data.spec) if data.spec != "an object in memory" else None
        assert again is None or again.fingerprint == data.fingerprint
    assert found[0].fingerprint == found[3].fingerprint != open_data("people.csv").fingerprint
    assert open_data("people.csv").split_by == "" and open_data("people.csv").train.groups is None


@pytest.mark.parametrize(
    ("data", "column", "error", "said"),
    [
        (people(), "donors", UsageError, "'donor'"),
        (cells(), "donro", UsageError, "'donor'"),
        (people(donors=1), "donor", DataError, "all 120 rows are of one group, 'd0'"),
        (people().assign(donor=[None] * 5 + ["a", "b"] * 57 + ["a"]), "donor", DataError, "5 of the 120 rows"),
        ("toy:moons", "donor", UsageError, "cells and tables"),
    ],
)
def test_what_cannot_be_split_is_said(data: object, column: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        open_data(data, split_by=column)


def test_two_groups_train_but_have_no_floors() -> None:
    notes = open_data(people(donors=2), split_by="donor").notes
    assert any("no floors" in note for note in notes)
