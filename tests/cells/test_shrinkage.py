"""Profiles of rare classes: the posterior against numerical integration, and worlds whose changes are known."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import stats

from gendi.data.cells.copula import CopulaCodec, programmes_of
from gendi.data.cells.factors import Factors
from gendi.data.cells.fit import fit
from gendi.data.cells.marginals import Sums, solve, sums_of
from gendi.data.cells.negative_binomial import quantile
from gendi.data.cells.shrinkage import Posterior, _components, _median, borrow, estimate_changes
from gendi.data.dataset import Data
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig
from gendi.errors import UsageError

GENES, CHANGED = 400, 15


def nbinom(mu, dispersion):
    return stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mu))


@pytest.mark.parametrize(
    ("s", "expected", "dispersion"), [(0, 3.0, 0.1), (7, 2.0, 0.05), (150, 90.0, 0.02), (3, 40, 1)]
)
def test_components_are_the_integrals(s, expected, dispersion):
    """Marginal likelihood, mean and deviation of b under N(0, scale^2), by sums over a fine grid."""
    scales, b = np.array([0.2, 0.8, 3.2]), np.linspace(-12, 12, 20001)
    found = _components(np.array([s * 1.0]), np.array([expected * 1.0]), np.array([dispersion * 1.0]), scales)
    likelihood = nbinom(expected * np.exp(b), dispersion).pmf(s)
    for k, scale in enumerate(scales):
        density = likelihood * stats.norm.pdf(b, 0, scale)
        whole, first, second = ((b**power * density).sum() * (b[1] - b[0]) for power in range(3))
        mean, std = first / whole, np.sqrt(second / whole - (first / whole) ** 2)
        assert found[0][0, k] == pytest.approx(np.log(whole), abs=0.03)
        assert found[1][0, k] == pytest.approx(mean, abs=0.03 * std)
        assert found[2][0, k] == pytest.approx(std, rel=0.05)


def test_the_median_of_a_mixture_is_found():
    shares = np.array([[0.6, 0.4], [0.2, 0.8], [0.2, 0.8]])
    mean, std = np.array([[5.0], [1.0], [-1.0]]), np.ones((3, 1))
    found = _median(shares, mean, std)
    assert found[0] == 0
    # 0.8 Phi(x - 1) + 0.2 = 0.5 for x > 0
    assert found[1] == pytest.approx(1 + stats.norm.ppf(0.3 / 0.8), abs=1e-6)
    assert found[2] == pytest.approx(-found[1], abs=1e-6)


@pytest.mark.statistical
def test_changes_are_found_and_the_rest_is_left_alone():
    """20 of 1000 sums of about 6 grow by a factor of e^2.5: 2.5 / sqrt(1/6 + 0.05) = 5.4 standard errors of ln."""
    rng = np.random.default_rng(0)
    expected, b = np.full(1000, 6.0), np.where(np.arange(1000) < 20, 2.5, 0.0)
    s = nbinom(expected * np.exp(b), 0.05).rvs(random_state=rng).astype(float)
    found = estimate_changes(s, expected, np.full(1000, 0.05))
    assert np.count_nonzero(found.estimate[20:]) <= 8
    assert np.count_nonzero(found.estimate[:20]) >= 18
    assert found.estimate[:20].mean() == pytest.approx(2.5, abs=0.3)


class World:
    """Three types, the rarest of which is like the second but for `CHANGED` genes; half of the genes share a factor."""

    def __init__(self, seed: int = 0, rare: int = 12) -> None:
        self.rng = np.random.default_rng(seed)
        base = self.rng.normal(0, 1.2, GENES)
        second = base + self.rng.normal(0, 1, GENES) * (self.rng.random(GENES) < 0.4)
        self.changed = np.zeros(GENES, bool)
        self.changed[self.rng.choice(np.flatnonzero(second > 0), CHANGED, replace=False)] = True
        change = np.where(self.changed, np.where(np.arange(GENES) % 2, 1.7, -1.7), 0)
        rates = np.exp(np.stack([base, second, second + change]))
        self.rates = rates / rates.sum(1, keepdims=True)
        self.dispersions = np.exp(self.rng.normal(np.log(0.3), 0.4, GENES))
        self.loadings = np.where(np.arange(GENES) % 2, 0.5, 0.0)
        self.labels = np.repeat([0, 1, 2], [300, 200, rare])
        self.counts = self.draw(self.labels)

    def draw(self, labels):
        n = len(labels)
        depth = self.rng.lognormal(np.log(1200), 0.3, (n, 1))
        z = self.rng.standard_normal((n, 1)) * self.loadings
        z = z + self.rng.standard_normal((n, GENES)) * np.sqrt(1 - self.loadings**2)
        return quantile(z, self.rates[labels] * depth, np.broadcast_to(self.dispersions, (n, GENES)))

    def sums(self) -> Sums:
        return sums_of([(self.counts, self.labels)], 3, GENES)

    def data(self) -> Data:
        spec = ConditionConfig("class", "class", 3, names=("a", "b", "rare"))
        split = Split(self.counts, {"class": self.labels})
        schema = {"genes": [str(g) for g in range(GENES)]}
        return Data("w", "w", split, split, (spec,), "", None, (), (), kind="cells", schema=schema)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def codec(world: World) -> CopulaCodec:
    from gendi.data.cells.config import CellsConfig

    data = world.data()
    found = fit(data, data.conditions, 0, CellsConfig(factors=2))
    assert isinstance(found, CopulaCodec)
    return found


@pytest.mark.statistical
def test_a_rare_class_borrows_from_the_class_that_it_is_like(world: World, codec: CopulaCodec):
    """In truth unchanged genes differ by a common factor alone; the mean of 12 cells errs by sqrt((1/3 + 0.3) / 12)."""
    sums = world.sums()
    assert borrow(sums).relatives.tolist() == [-1, -1, 1]  # 200 of 300 cells are too many to borrow
    same = ~world.changed
    found, plain = (np.log(m.rates[2] / m.rates[1])[same] for m in (codec.marginals, solve(sums)))
    assert np.std(plain) > 0.3
    assert np.mean(found == np.median(found)) > 0.95 or np.std(found) < 0.05
    called = codec.posterior.changed[2] > 0.5
    assert called[world.changed].sum() >= 10 and called[same].sum() <= 4


@pytest.mark.statistical
def test_dispersions_of_a_rare_class_borrow_too(world: World):
    """They are the same in all classes here: errors of ln a, over genes whose counts say anything of it."""
    seen = world.rates[2] * 1200 > 2
    laws = borrow(world.sums()).marginals, solve(world.sums())
    errors = [np.abs(np.log(law.dispersions[2] / world.dispersions))[seen].mean() for law in laws]
    assert errors[0] < errors[1] / 2


@pytest.mark.statistical
def test_a_class_of_many_cells_keeps_what_is_its_own():
    """60 cells of the last class, beside 200: a rate errs by sqrt((1/mu + a) / 60) < 0.12 for mu > 3: four of it."""
    world = World(1, 60)
    found = borrow(world.sums()).marginals
    seen = (world.rates[2] * 1200 > 3) & world.changed
    assert np.abs(np.log(found.rates[2] / world.rates[2]))[seen].max() < 0.5
    np.testing.assert_allclose(found.rates.sum(1), 1, rtol=1e-2)


def false_calls(drawn, real, changed):
    def logs(k):
        return np.log1p(k * (1e4 / np.maximum(1, k.sum(1, keepdims=True))))

    p = np.nan_to_num(stats.mannwhitneyu(logs(drawn), logs(real), axis=0).pvalue, nan=1.0)
    found = stats.false_discovery_control(p) < 0.05
    return int((found & ~changed).sum()), int((found & changed).sum())


@pytest.mark.statistical
def test_a_test_on_drawn_cells_is_not_fooled(world: World, codec: CopulaCodec):
    """300 cells of the rare type from standard normal factors, against the real cells of its neighbour.

    True cells are called falsely too, by chance in the programme that half of the genes share. With the plain laws of
    the class's 12 cells, the same test calls most unchanged genes.
    """
    cond = {"class": torch.full((300,), 2)}
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((300, codec.shape[0])))
    drawn = codec.decode(x, cond, 0, 0).numpy()
    real = world.counts[world.labels == 1]
    false, right = false_calls(drawn, real, world.changed)
    truth, _ = false_calls(world.draw(np.full(300, 2)), real, world.changed)
    assert false <= truth + 4 and right >= 9  # 4 of 400 are 10 of 1000 genes
    plain = CopulaCodec(codec.header, {}, codec.depth, solve(world.sums()), codec.factors, codec.modelled)
    assert false_calls(plain.decode(x, cond, 0, 0).numpy(), real, world.changed)[0] > 100


def test_programmes_are_the_slope_of_the_mean():
    """A factor of 0.1 at a loading of 0.6 moves the mean of counts by the mean's integral over the score."""
    factors = Factors(np.array([[0.6], [0.6]]))
    rates, dispersions = np.array([0.002, 0.02]), np.array([0.3, 0.5])
    found = programmes_of(factors, rates, dispersions, 1000.0)[:, 0]
    z = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    for g, slope in enumerate(found):
        means = [quantile(0.6 * f + 0.8 * z, rates[g] * 1000, dispersions[g]).mean() for f in (-0.1, 0.1)]
        assert slope == pytest.approx((means[1] - means[0]) / 0.2 / (rates[g] * 1000), rel=0.08)


@pytest.mark.statistical
def test_drawn_profiles_have_the_mean_and_the_spread_of_the_posterior():
    """ln p: base + N(1, 0.5^2) with probability 0.3, N(0, 0.1^2) else. 4000 draws: errors of four standard errors."""
    row = [np.full((1, 50), v) for v in (-3.0, 0.3, 1.0, 0.5, 0.1)]
    rng = np.random.default_rng(0)
    drawn = np.log(np.stack([Posterior(*row).draw(0, rng) for _ in range(80)])).reshape(-1) + 3
    variance = 0.3 * (0.25 + 1) + 0.7 * 0.01 - 0.3**2
    assert drawn.mean() == pytest.approx(0.3, abs=4 * np.sqrt(variance / 4000))
    assert drawn.var() == pytest.approx(variance, rel=0.12)


def test_profiles_are_drawn_by_cell_or_by_seed(codec: CopulaCodec):
    """With one profile for a seed, cells 3 and 4 have the same one whatever is drawn with them."""
    labels = np.full(6, 2)
    rates = codec.with_profiles("per-seed")._drawn_rates(labels, range(6), 1)
    assert (rates == rates[0]).all()
    assert not np.array_equal(rates[0], codec.with_profiles("per-seed")._drawn_rates(labels, range(1), 2)[0])
    each = codec.with_profiles("per-cell")._drawn_rates(labels, range(6), 1)
    assert len(np.unique(each[:, 0])) == 6
    np.testing.assert_array_equal(each[3:5], codec.with_profiles("per-cell")._drawn_rates(labels[:2], range(3, 5), 1))
    x, cond = torch.zeros(6, codec.shape[0]), {"class": torch.full((6,), 2)}
    whole = codec.with_profiles("per-cell").decode(x, cond, 1, 0)
    assert torch.equal(whole[3:], codec.with_profiles("per-cell").decode(x[3:], {"class": cond["class"][3:]}, 1, 3))


def test_the_mean_of_a_rare_class_in_model_space_is_shrunk(world: World, codec: CopulaCodec):
    """Two factors: James and Stein's k - 2 is 0, so the mean stays; sixteen: it nearly goes."""
    assert not codec.shift.any()
    from gendi.data.cells.config import CellsConfig

    data = world.data()
    wide = fit(data, data.conditions, 0, CellsConfig(factors=16))
    assert isinstance(wide, CopulaCodec)
    rows = np.flatnonzero(world.labels == 2)
    given = {"class": torch.full((len(rows),), 2)}
    x = wide.encode(torch.from_numpy(world.counts[rows]), given, torch.from_numpy(rows)).double().numpy()[:, 1:]
    before = x.mean(0) + wide.shift[2]
    kept = max(0.0, 1 - 14 / (12 * before @ before))
    np.testing.assert_allclose(x.mean(0), kept * before, atol=1e-5)
    assert not wide.shift[:1].any()  # 300 cells


def test_a_codec_of_an_earlier_version_draws_as_it_did(codec: CopulaCodec):
    data, tensors = codec.to_dict(), codec.tensors()
    del data["borrowed"]
    for name in (*(field.name for field in fields(Posterior)), "shift"):
        del tensors[name]
    again = CopulaCodec.from_parts(data, tensors)
    x, cond = torch.zeros(4, codec.shape[0]), {"class": torch.full((4,), 2)}
    assert torch.equal(again.decode(x, cond, 0, 0), codec.decode(x, cond, 0, 0))
    assert torch.equal(again.with_profiles("estimated").decode(x, cond, 0, 0), codec.decode(x, cond, 0, 0))
    with pytest.raises(UsageError, match="did not keep what it knew of the profiles"):
        again.with_profiles("per-cell")
