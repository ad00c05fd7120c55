"""Floors that deal whole groups, and what they catch: a planted donor effect, and a fake that knows its donors."""

import numpy as np
import pytest

from gendi.data.groups import Groups, hold_out_groups
from gendi.data.split import Split, hold_out_rows
from gendi.evaluate import Evaluation
from gendi.evaluate.vectors import RowSet, evaluate_rows, metrics
from gendi.evaluate.vectors.deals import deals_of
from gendi.evaluate.vectors.rows import reference_groups

DONORS, EACH, COLUMNS = 300, 4, 6


def drawn(rng: np.random.Generator, centres: np.ndarray, each: int) -> np.ndarray:
    """Return rows of donors around their centres."""
    return np.concatenate([rng.normal(centre, 0.15, (each, COLUMNS)) for centre in centres])


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return drawn(rng, rng.normal(0, 1, (DONORS, COLUMNS)), EACH), np.repeat(np.arange(DONORS), EACH)


def judged(rows: np.ndarray, of: np.ndarray, grouped: bool, fake: str) -> Evaluation:
    """Return the evaluation of a fake made of what training holds.

    Args:
        rows: real rows.
        of: their donors.
        grouped: whether whole donors are held out.
        fake: "memory" draws cells of the donors that were trained on, "new" cells of donors that nobody has seen.
    """
    split, rng = Split(rows), np.random.default_rng(3)
    if grouped:
        train, heldout, _ = hold_out_groups(split, Groups("donor", of, tuple(map(str, range(DONORS)))), rng)
        known = train.groups
    else:
        train, heldout, _ = hold_out_rows(Split(rows, {"donor": of}), (), rng)
        known = train.conditions["donor"]
    x, y = (part.batch(range(len(part))) for part in (train, heldout))
    if fake == "memory":  # the donors' own means and their scatter, as a model that knows every donor would have them
        assert known is not None
        centres = np.stack([x[known == donor].mean(0) for donor in np.unique(known)])
    else:
        centres = rng.normal(0, 1, (240, COLUMNS))
    samples = drawn(rng, centres, 2)
    real = RowSet(x, groups=train.groups), RowSet(y, groups=heldout.groups)
    return evaluate_rows(RowSet(samples), *real, n=240, splits=14, replicates=2)


@pytest.fixture(autouse=True)
def no_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the classifiers, which take most of the time."""
    monkeypatch.setattr(metrics, "JUDGES", ())


def failed(found: Evaluation) -> set[str]:
    return {m.name for m in found.metrics if m.gate is not None and not m.passed}


def test_a_random_split_passes_a_memorising_fake_and_the_grouped_one_fails_it(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    assert failed(judged(*world, grouped=False, fake="memory")) == set()
    caught = judged(*world, grouped=True, fake="memory")
    assert "closest-share" in failed(caught)
    assert any("whole groups" in note for note in caught.notes)


def test_a_fake_of_new_donors_passes_the_grouped_split(world: tuple[np.ndarray, np.ndarray]) -> None:
    found = judged(*world, grouped=True, fake="new")
    assert failed(found) == set()
    assert any("Intervals draw whole groups anew" in note for note in found.notes)


def test_one_held_out_group_says_nothing_of_the_next() -> None:
    rows = RowSet(np.arange(6.0)[:, None], groups=np.zeros(6, np.int64))
    groups, notes = reference_groups(rows)
    assert groups is None and "all of one group" in notes[0]
    assert reference_groups(RowSet(rows.rows)) == (None, [])


@pytest.mark.parametrize("sizes", [(20,) * 12, (5, 60, 20, 30, 9, 40, 16), (30, 30, 30)])
def test_deals_of_groups_share_no_group_and_have_equal_sets(sizes: tuple[int, ...]) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    real = RowSet(np.arange(len(groups))[:, None], groups=groups)
    heldout = real.take(np.flatnonzero(groups == 0))
    found = deals_of(real, heldout, 25, 16, 0)
    assert found.n <= 25 and len(found.deals) == min(16, len(sizes))
    for x, y, t in found.deals:
        assert len(x) == len(y) == found.n <= len(t)
        mine = [set(groups[rows]) for rows in (x, y, t)]
        assert not (mine[0] & mine[1] or mine[0] & mine[2] or mine[1] & mine[2])
        assert len(set(x)) == len(x)


def test_two_groups_have_no_deals() -> None:
    real = RowSet(np.arange(40)[:, None], groups=np.repeat([0, 1], 20))
    found = deals_of(real, real.take(np.arange(20)), 10, 16, 0)
    assert not found.deals and "need 3" in found.notes[0]
