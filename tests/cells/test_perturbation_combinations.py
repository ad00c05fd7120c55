"""Combinations of drugs where the truth is a formula: sums where drugs do not interact, and more where they do."""

from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gendi.api.perturbation import effects, fit, load, predict, save
from gendi.cli import main
from gendi.data.cells.marginals import Marginals
from gendi.data.cells.perturbation.combination_worlds import WORLDS, invent_together
from gendi.data.cells.perturbation.experiment import CONTROL, Experiment
from gendi.data.cells.perturbation.scores import pearson
from gendi.data.cells.perturbation.shifts import Shifts
from gendi.data.cells.perturbation.treatment import Treatment, parse_doses, separate
from gendi.data.cells.perturbation.treatments import Treatments
from gendi.errors import DataError, UsageError

DRUGS, TYPES, GENES, ERROR = 6, 3, 300, 0.1
PAIRS = list(combinations(range(DRUGS), 2))
SEEN = PAIRS[::3] + PAIRS[1::3]
UNSEEN = PAIRS[2::3]


@cache
def truth(world: str) -> tuple[np.ndarray, dict[tuple[int, ...], np.ndarray]]:
    """Return what each drug does alone (drugs, G), and what is added to the sum in each pair, and in a triple."""
    rng = np.random.default_rng(11)
    alone = rng.normal(size=(DRUGS, GENES)) * (rng.random((DRUGS, GENES)) < 0.15)
    common = np.zeros(GENES)
    common[:40] = rng.choice([-1.0, 1.0], 40)
    more = {}
    for pair in PAIRS:
        total = alone[list(pair)].sum(0)
        own = rng.normal(size=GENES) * (rng.random(GENES) < 0.05)
        more[pair] = {"additive": 0 * total, "synergy": common + own, "saturating": np.tanh(total) - total}[world]
    return alone, more


def made(world: str, rows: list[tuple[int, Treatment]], names: int = DRUGS) -> tuple[Experiment, Shifts]:
    """Return an experiment without cells, and the observed changes of types under treatments, with errors."""
    alone, more = truth(world)
    rng = np.random.default_rng(5)
    together = list(dict.fromkeys(t for _, t in rows if len(t.drugs) > 1))
    number = {t: names + i for i, t in enumerate(together)} | {t: t.drugs[0] for _, t in rows if len(t.drugs) == 1}
    y = np.stack([alone[list(t.drugs)].sum(0) + more.get(t.members, 0.0) for _, t in rows])
    y = y + ERROR * rng.normal(size=y.shape)
    v = np.full_like(y, ERROR**2)
    rates = rng.dirichlet(np.ones(GENES), TYPES + 1)
    labels = (*map(str, range(names)), *("+".join(map(str, t.drugs)) for t in together))
    experiment = Experiment(
        np.ones((TYPES, GENES), np.int64), np.arange(TYPES), np.full(TYPES, CONTROL), np.zeros(TYPES),
        tuple("abc"), labels, tuple(map(str, range(GENES))), dosed=False, sign="+",
        combinations={d: t for t, d in number.items() if len(t.drugs) > 1},
    )  # fmt: skip
    drugs = np.array([number[t] for _, t in rows])
    marginals = Marginals(rates, np.full_like(rates, 0.1))
    return experiment, Shifts(np.array([c for c, _ in rows]), drugs, np.ones(len(rows)), y, v, v * 1e-4, marginals)


def treated(*drugs: int) -> Treatment:
    return Treatment(drugs, (1.0,) * len(drugs))


@cache
def learned(world: str) -> Treatments:
    """Return the model of all single drugs, and of the pairs in `SEEN`: each in two of three types."""
    singles = [(c, treated(d)) for c in range(TYPES) for d in range(DRUGS)]
    pairs = [(c, treated(*pair)) for i, pair in enumerate(SEEN) for c in range(TYPES) if c != i % TYPES]
    model = Treatments()
    model.train, model.shifts = made(world, singles + pairs)
    model.learn(model.shifts)
    return model


def judged(world: str, pairs: list[tuple[int, int]], own_type: bool = False) -> tuple[float, float, float]:
    """Return the mean correlation over changed genes of the model and of sums, and the error over what sums miss."""
    model, (alone, more) = learned(world), truth(world)
    scores = []
    for i, pair in enumerate(pairs):
        c = i % TYPES if own_type else 0
        wanted = alone[list(pair)].sum(0) + more[pair]
        changed = np.abs(wanted) > 0.1
        found, _ = model.effect(c, treated(*pair))
        total = sum(model.lfc(c, d, 1.0) for d in pair)
        miss = np.square(found - wanted).sum() / max(np.square(total - wanted).sum(), 1e-12)
        scores.append((pearson(found[changed], wanted[changed]), pearson(total[changed], wanted[changed]), miss))
    return tuple(np.mean(scores, axis=0).tolist())  # type: ignore[return-value]


@pytest.mark.statistical
def test_without_interactions_combinations_are_sums() -> None:
    model = learned("additive")
    assert model.joint is not None
    # slopes have errors of about 0.1 / sqrt(90 changed genes of size 1 * 2 types) = 0.007, and there are ten of them
    assert model.joint.scale == pytest.approx(1, abs=0.02)
    for pairs, own_type in ((UNSEEN, False), (SEEN, True)):
        ours, sums, _ = judged("additive", pairs, own_type)
        assert ours == pytest.approx(sums, abs=0.01)
    # what pairs have in common is known to about half of one observation's error, before it is shrunk to nothing
    assert np.sqrt(np.square(model.joint.common).mean()) < ERROR / 4


@pytest.mark.statistical
def test_interactions_are_learned_for_other_types_and_other_pairs() -> None:
    for pairs, own_type in ((UNSEEN, False), (SEEN, True)):
        ours, sums, miss = judged("synergy", pairs, own_type)
        assert ours > sums + 0.05
        # of the interaction's squares, 40 common genes of size 1 against 15 of its own of size 1: 3 / 11 are own
        assert miss < (0.15 if own_type else 0.4)


@pytest.mark.statistical
def test_effects_that_saturate_have_a_scale_below_one() -> None:
    model, (alone, more) = learned("saturating"), truth("saturating")
    sums = np.concatenate([alone[list(pair)].sum(0) for pair in SEEN])
    wanted = float(sums @ (sums + np.concatenate([more[pair] for pair in SEEN])) / (sums @ sums))
    assert model.joint is not None and wanted < 0.8
    assert model.joint.scale == pytest.approx(wanted, abs=0.06)  # the slope over all pairs; ours weights each alike
    _, _, miss = judged("saturating", UNSEEN)
    assert miss < 0.6


def test_three_drugs_have_the_interactions_of_their_pairs() -> None:
    model, (alone, more) = learned("synergy"), truth("synergy")
    triple = next(t for t in combinations(range(DRUGS), 3) if all(p in SEEN for p in combinations(t, 2)))
    total = alone[list(triple)].sum(0)
    wanted = total + sum(more[pair] for pair in combinations(triple, 2))
    found, variance = model.effect(0, treated(*triple))
    assert np.square(found - wanted).sum() < 0.3 * np.square(total - wanted).sum()
    assert (variance > 0).all()
    assert model.effect(0, treated(*triple[::-1]))[0] == pytest.approx(found)  # the order does not matter


def test_a_drug_that_was_never_given_alone_is_known_from_its_combinations() -> None:
    alone, _ = truth("additive")
    rows = [(c, treated(d)) for c in range(TYPES) for d in range(1, DRUGS)]
    rows += [(c, treated(0, d)) for c in range(TYPES) for d in (1, 2)]
    model = Treatments()
    model.train, model.shifts = made("additive", rows)
    model.learn(model.shifts)
    error = model.lfc(0, 0, 1.0) - alone[0]
    # six observations of 0.1 * sqrt(2) each; shrinkage takes care of genes that do nothing
    assert np.sqrt(np.square(error).mean()) < ERROR
    assert any("No cell had '0' alone" in text and "'0+1', '0+2'" in text for text in model.warnings())


def test_drugs_that_cannot_be_told_apart_are_known_together_only() -> None:
    rows = [(c, treated(d)) for c in range(TYPES) for d in (2, 3)] + [(c, treated(0, 1)) for c in range(TYPES)]
    model = Treatments()
    model.train, model.shifts = made("additive", rows)
    model.learn(model.shifts)
    alone, _ = truth("additive")
    model.check_treatment(0, treated(1, 0))
    assert np.sqrt(np.square(model.effect(0, treated(1, 0))[0] - alone[:2].sum(0)).mean()) < ERROR
    assert any("known as a whole only" in text for text in model.warnings())
    with pytest.raises(UsageError, match=r"No cell had '1' alone, .* \('0\+1'\) .* Add cells with '1' alone"):
        model.check_treatment(0, treated(1, 2))


@pytest.mark.statistical
@pytest.mark.parametrize("name", WORLDS)
def test_invented_combinations_have_the_means_that_the_world_says(name: str) -> None:
    world = invent_together(name, 0, types=2, drugs=3, genes=150, cells=3, controls=6)
    pair, rng = Treatment((0, 2), (3.0, 10.0)), np.random.default_rng(1)
    a, b = (world.alone.log_fold(1, d, x) for d, x in pair.parts)
    lfc = world.log_fold(1, pair)
    if name == "additive":
        assert lfc == pytest.approx(a + b)
    if name == "saturation":
        assert np.abs(lfc).max() < 2.2 and (np.abs(lfc) <= np.abs(a + b)).all()
    cells = world.treated(1, pair, 4000, rng)
    wanted = 1500 * np.exp(0.35**2 / 2) * world.alone.rates[1] * np.exp(lfc)
    error = cells.std(0) / np.sqrt(4000)
    assert (np.abs(cells.mean(0) - wanted) < 5 * error + 1e-9).all()  # 150 genes at 5 errors: 1e-4
    e = world.experiment
    seen = {(int(c), e.combinations[d]) for c, d in zip(e.types, e.drugs, strict=True) if d in e.combinations}
    assert seen and not seen & {condition for each in world.lacking.values() for condition in each}


def test_names_and_doses_of_combinations_are_read() -> None:
    assert separate("A + B", "+", None) == ("A", "B")
    assert separate("KLF1+ctrl", "+", "ctrl") == ("KLF1",)
    assert separate("Na+", "+", None) == ("Na+",) and separate("A+B", None, None) == ("A+B",)
    assert parse_doses("1+0.5", 2, "+") == (1.0, 0.5) and parse_doses(3, 2, "+") == (3.0, 3.0)
    assert parse_doses("1e+1", 1, "+") == (10.0,)
    for bad, text in (("1+2+3", "3 numbers for 2 drugs"), ("1+x", "no number"), ("0+1", "above 0")):
        with pytest.raises(UsageError, match=text):
            parse_doses(bad, 2, "+")


def cells(dosed: bool) -> Any:
    """Return an AnnData of Poisson counts under A, B, C and some of their combinations."""
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    rng = np.random.default_rng(2)
    given = {"ctrl": "0", "A+ctrl": "2+0", "ctrl+B": "0+1", "C": "1", "A+B": "2+1", "C+A": "1"}
    rates = rng.gamma(2.0, 4.0, 40) + 1
    lfc = {name: rng.normal(size=40) * (rng.random(40) < 0.2) for name in "ABC"}
    names = np.repeat(list(given), [120] + [40] * 5)
    means = np.stack([rates * np.exp(sum(lfc.get(part, 0.0) for part in name.split("+"))) for name in names])
    obs = pandas.DataFrame({"drug": names}, index=[f"cell{i}" for i in range(len(names))])
    if dosed:
        obs["dose"] = [given[name] for name in names]
    return anndata.AnnData(rng.poisson(means).astype(np.float32), obs=obs)


@pytest.mark.parametrize("dosed", [False, True])
def test_combinations_go_through_files(dosed: bool, tmp_path: Path) -> None:
    keys = {"drug": "drug", "control": "ctrl"} | ({"dose": "dose"} if dosed else {})
    model = fit(cells(dosed), **keys)
    e = model.experiment
    assert e.treatment_names == ["A", "B", "C", "A+B", "C+A"]
    asked = {"drug": "B+A", "n": 30} | ({"dose": "1+2"} if dosed else {})
    drawn = predict(model, **asked)
    assert set(drawn.obs["drug"]) == {"A+B"} and ("dose" in drawn.obs) == dosed
    if dosed:
        assert set(drawn.obs["dose"]) == {"2+1"}
        with pytest.warns(UserWarning, match="5 times the largest tested dose of 'A', 2"):
            predict(model, drug="A+B", dose="10+1")
        with pytest.raises(UsageError, match="Tested doses of 'A' are 2"):
            predict(model, drug="A+B")
    unseen = {"drug": "B+C"} | ({"dose": 1.0} if dosed else {})
    with pytest.warns(UserWarning, match=r"No cell had 'B\+C'"):
        assert set(predict(model, **unseen).obs["drug"]) == {"B+C"}
    with pytest.raises(UsageError, match="named 'D'"):
        predict(model, **asked | {"drug": "A+D"})
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert effects(again).equals(effects(model)) and set(effects(model)["drug"]) == set(e.treatment_names)
    assert np.array_equal(predict(again, **asked).X.toarray(), drawn.X.toarray())


def test_a_bad_dose_of_a_combination_is_named() -> None:
    adata = cells(dosed=True)
    adata.obs.loc[adata.obs_names[-1], "dose"] = "1+2+3"
    with pytest.raises(DataError, match=r"cell 'cell319': .* 3 numbers for 2 drugs"):
        fit(adata, drug="drug", dose="dose", control="ctrl")


def test_the_commands_know_combinations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gendi.report.perturbation.MOST_DRUGS", 1)  # figures take time
    adata = cells(dosed=True)
    adata[adata.obs["drug"] != "C+A"].copy().write_h5ad("drugs.h5ad")
    assert main(["cells", "perturb", "fit", "drugs.h5ad", "--drug", "drug", "--dose", "dose", "--control", "ctrl"]) == 0
    assert "3 drugs, 1 combination" in capsys.readouterr().out
    page = Path("runs/drugs-perturbation/report.html").read_text(encoding="utf-8")
    assert "A+B" in page and page.count("<picture>") == 4
    asked = ["cells", "perturb", "predict", "runs/drugs-perturbation", "--drug", "A+C"]
    assert main([*asked, "--dose", "2+1"]) == 0
    assert "No cell had 'A+C'" in capsys.readouterr().err
    assert main([*asked, "--dose", "2+1+1"]) == 2
    assert "3 numbers for 2 drugs" in capsys.readouterr().err
