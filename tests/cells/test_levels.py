"""Batches beside types: the rates of genes follow both, in a world whose rates are known."""

import json

import numpy as np
import pytest
import torch

from gendi.data.cells.config import CellsConfig
from gendi.data.cells.copula import CopulaCodec
from gendi.data.cells.fit import CODECS, fit
from gendi.data.cells.main_class import gain, main_condition
from gendi.data.dataset import Data
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig
from gendi.errors import BundleError

GENES, CHANGED, DISPERSION, DEPTH = 120, 24, 0.2, 600.0
TYPE = ConditionConfig("type", "class", 3, names=("a", "b", "c"))
BATCH = ConditionConfig("batch", "class", 2, names=("x", "y"))
DONOR = ConditionConfig("donor", "class", 3, names=("d", "e", "f"))


def rates_of() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rates of three types (3, G), and by how much a gene's rate is larger in batch y and in donor f."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(4, 1, (3, GENES))
    batch, donor = np.ones(GENES), np.ones(GENES)
    batch[:CHANGED] = np.where(np.arange(CHANGED) % 2, 2.0, 0.5)
    donor[CHANGED : 2 * CHANGED] = 3.0
    return rates, batch, donor


def world(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Counts of n cells; four of five cells of type a are of batch x, two of five of the others."""
    rng = np.random.default_rng(seed)
    rates, batch, donor = rates_of()
    types, donors = rng.integers(0, 3, n), rng.integers(0, 3, n)
    batches = (rng.random(n) > np.where(types == 0, 0.8, 0.4)).astype(np.int64)
    p = rates[types] * np.where(batches[:, None] == 1, batch, 1) * np.where(donors[:, None] == 2, donor, 1)
    mu = p / p.sum(1, keepdims=True) * rng.lognormal(np.log(DEPTH), 0.2, (n, 1))
    counts = rng.poisson(rng.gamma(1 / DISPERSION, mu * DISPERSION))
    return {"counts": counts, "type": types, "batch": batches, "donor": donors}


def fitted(cells: dict[str, np.ndarray], *specs: ConditionConfig) -> CopulaCodec:
    split = Split(cells["counts"], {spec.name: cells[spec.name] for spec in specs})
    data = Data("world", "world", split, split, specs, "", None, (), (), kind="cells", schema={"genes": ["g"]})
    codec = fit(data, specs, 0, CellsConfig("copula", 2))
    assert isinstance(codec, CopulaCodec)
    return codec


@pytest.fixture(scope="module")
def codec() -> CopulaCodec:
    return fitted(world(6000), TYPE, BATCH, DONOR)


@pytest.mark.statistical
def test_planted_factors_are_found_and_other_genes_are_left_alone(codec: CopulaCodec) -> None:
    """A level has 1500 cells or more, so a gene of mean 5 has an error of sqrt((1 / 5 + 0.2) / 1500) = 1.6% of it, and
    a ratio of two of 2.3%. The rates of a cell sum to one in each type, which moves ratios by a few percent more, alike
    for all genes of a batch: 12% are allowed. Genes that did not change keep their one common ratio exactly.
    """
    _, batch, donor = rates_of()
    x, y, none = codec.levels.factors["batch"]
    assert (none == 1).all()
    ratio = y / x / np.median(y / x)
    np.testing.assert_allclose(ratio, batch, rtol=0.12)
    assert (np.abs(ratio[CHANGED:] - 1) < 1e-6).mean() > 0.9
    d, e, f, _ = codec.levels.factors["donor"]
    np.testing.assert_allclose(f / e / np.median(f / e), donor, rtol=0.12)
    alike = np.delete(e / d, np.s_[CHANGED : 2 * CHANGED])  # without those whose mean over donors is another
    assert (np.abs(alike / np.median(alike) - 1) < 1e-6).mean() > 0.9


@pytest.mark.statistical
def test_drawn_cells_follow_type_and_batch_and_donor(codec: CopulaCodec) -> None:
    """Means over 2000 drawn cells of type a in batch y, which it rarely is, and donor f, against the rates of the
    world. A mean has an error of sqrt((1 / 4 + 0.2) / 2000) = 1.5%; the fit some 3%: 15% are allowed. The same codec
    without the batch is wrong by a factor of about 2 for the changed genes.
    """
    rates, batch, donor = rates_of()
    p = rates[0] * batch * donor
    expected = p / p.sum() * DEPTH
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2000, 3)))
    cond = {"type": torch.zeros(2000, dtype=torch.int64), "batch": torch.ones(2000, dtype=torch.int64)}
    cond |= {"donor": torch.full((2000,), 2), "depth": torch.full((2000,), DEPTH)}
    drawn = codec.decode(x, cond, 0, 0).numpy().mean(0)
    np.testing.assert_allclose(drawn, expected, rtol=0.15)
    without = codec.decode(x, {**cond, "batch": torch.full((2000,), -1)}, 0, 0).numpy().mean(0)
    assert np.abs(np.log(without / expected)[:CHANGED]).mean() > 0.3


@pytest.mark.statistical
def test_dispersions_do_not_contain_the_batches(codec: CopulaCodec) -> None:
    """The dispersion of a gene in a class of 2000 cells errs by about sqrt(2 / 2000) (1 + 1 / (0.2 5)) = 6%, its median
    over 48 genes by 1%. With batches and donors in it, that of changed genes is larger by half and more.
    """
    changed = slice(0, 2 * CHANGED)
    assert np.median(codec.marginals.dispersions[:3, changed]) == pytest.approx(DISPERSION, rel=0.1)
    alone = fitted(world(6000), TYPE)
    assert np.median(alone.marginals.dispersions[:3, changed]) > 1.4 * DISPERSION


@pytest.mark.statistical
def test_model_space_is_free_of_batches(codec: CopulaCodec) -> None:
    """The factors of 3000 new cells have the same mean in both batches: each mean errs by sqrt(2 / 1500) = 0.04."""
    cells = world(3000, seed=1)
    cond = {name: torch.from_numpy(cells[name]) for name in ("type", "batch", "donor")}
    x = codec.encode(torch.from_numpy(cells["counts"]), cond, torch.arange(3000)).numpy()
    difference = x[cells["batch"] == 1, 1:].mean(0) - x[cells["batch"] == 0, 1:].mean(0)
    assert (np.abs(difference) < 0.18).all()


def test_parts_make_the_same_codec_and_damage_is_seen(codec: CopulaCodec) -> None:
    data = json.loads(json.dumps(codec.to_dict()))
    assert data["others"] == {"batch": 2, "donor": 3} and data["levels"] == 7
    again = CODECS[data["kind"]].from_parts(data, codec.tensors())
    assert again == codec
    x, cond = torch.randn(9, 3), {"type": torch.zeros(9, dtype=torch.int64), "batch": torch.arange(9) % 2}
    assert torch.equal(again.decode(x, cond, 0, 0), codec.decode(x, cond, 0, 0))
    with pytest.raises(BundleError, match="levels"):
        CODECS[data["kind"]].from_parts({**data, "others": {"batch": 2}}, codec.tensors())
    with pytest.raises(BundleError, match="others"):
        CODECS[data["kind"]].from_parts({**data, "others": 3}, codec.tensors())


def test_other_batches_do_not_fit(codec: CopulaCodec) -> None:
    other = ConditionConfig("batch", "class", 2, names=("x", "z"))
    schema = {"genes": ["g"]}
    assert codec.misfit(schema, (TYPE, BATCH), (TYPE, BATCH, DONOR)) == ""
    assert "classes of batch differ" in codec.misfit(schema, (TYPE, other), (TYPE, BATCH, DONOR))


def test_a_batch_of_one_type_and_one_of_no_cell_change_nothing() -> None:
    """Where batch and type are the same, the type has it all; a level without cells is as none."""
    cells = world(600)
    cells["batch"] = np.where(cells["type"] == 0, 1, 0)
    spec = ConditionConfig("batch", "class", 3, names=("x", "y", "empty"))
    factors = fitted(cells, TYPE, spec).levels.factors["batch"]
    assert (factors[2] == 1).all() and np.abs(factors[1] - 1).max() < 1e-3


@pytest.mark.statistical
def test_the_order_of_conditions_decides_nothing(codec: CopulaCodec) -> None:
    """Types differ in all genes of this world, donors and batches in a fifth, so that types are the main condition,
    in whatever order they are named. Factors of donors and batches are found in turn, which leaves 2%."""
    again = fitted(world(6000), DONOR, BATCH, TYPE)
    assert again.header.label == codec.header.label == "type"
    np.testing.assert_allclose(again.marginals.rates, codec.marginals.rates, rtol=0.02)


@pytest.mark.statistical
def test_a_condition_that_says_nothing_has_no_gain() -> None:
    """The mean over judged cells of ln(p_c / p), for p_c a mean over n cells of p, is about -(G - 1) / (2 n depth) per
    count, and so less than 0: classes by chance, however many, never win against real ones."""
    cells = world(1000)
    rng = np.random.default_rng(3)
    cells["chance"] = rng.integers(0, 50, 1000)
    spec = ConditionConfig("chance", "class", 50, names=tuple(map(str, range(50))))
    split = Split(cells["counts"], {name: cells[name] for name in ("chance", "type", "batch")})
    halves = np.arange(0, 1000, 2), np.arange(1, 1000, 2)
    assert gain(split, spec, *halves) < 0 < gain(split, BATCH, *halves) < gain(split, TYPE, *halves)
    assert main_condition(split, (spec, BATCH), rng) is BATCH and main_condition(split, (), rng) is None


def test_codecs_of_earlier_versions_have_no_further_conditions() -> None:
    codec = fitted(world(200), TYPE)
    data = {name: value for name, value in codec.to_dict().items() if name not in ("others", "levels")}
    again = CODECS[codec.kind].from_parts(data, codec.tensors())
    assert again == codec and not codec.levels.factors
