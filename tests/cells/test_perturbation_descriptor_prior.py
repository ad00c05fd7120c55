"""Drugs that few cells had: where effects are linear in descriptors these help, and shuffled ones change nothing."""

from functools import cache

import numpy as np
import pytest

from gendi.data.cells.perturbation.descriptor_prior import predictions
from gendi.data.cells.perturbation.descriptors import Descriptors
from gendi.data.cells.perturbation.experiment import CONTROL, Experiment
from gendi.data.cells.perturbation.treatments import Treatments
from gendi.data.cells.perturbation.unseen import weights_of

DRUGS, GENES, SIZE, CELLS, CONTROLS = 24, 120, 5, 5, 200


@cache
def world() -> tuple[Experiment, np.ndarray, np.ndarray]:
    """Return the experiment, descriptors (D, 5), and the true effects (D, G), which are linear in these."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(DRUGS, SIZE))
    truth = z @ (rng.normal(size=(SIZE, GENES)) / 3 * (rng.random(GENES) < 0.5))
    rates = rng.gamma(1.0, 4.0, GENES) + 0.5
    sizes = [CONTROLS] + [CELLS] * DRUGS
    means = np.repeat(rates * np.exp(np.vstack([np.zeros(GENES), truth])), sizes, axis=0)
    counts = rng.poisson(means * rng.gamma(4.0, 0.25, means.shape))
    drugs = np.repeat([CONTROL, *range(DRUGS)], sizes)
    names, genes = tuple(f"drug{d}" for d in range(DRUGS)), tuple(f"gene{g}" for g in range(GENES))
    doses = (drugs != CONTROL) * 1.0
    e = Experiment(counts, np.zeros(len(drugs), np.int64), drugs, doses, ("cells",), names, genes, dosed=False)
    return e, z, truth


@cache
def fitted(seed: int | None) -> Treatments:
    """Return the model with the descriptors; shuffled by a seed, or without any for -1."""
    e, z, _ = world()
    if seed is not None and seed >= 0:
        z = np.random.default_rng(seed).permutation(z)
    table = Descriptors(e.drug_names, tuple(map(str, range(SIZE))), z)
    return Treatments(True, None if seed == -1 else table).fit(e)


def effects(model: Treatments) -> np.ndarray:
    return np.stack([model.lfc(0, d, 1.0) for d in range(DRUGS)])


@pytest.mark.statistical
def test_the_error_of_drugs_with_few_cells_falls() -> None:
    _, _, truth = world()
    alone, told = (np.square(effects(fitted(seed)) - truth).mean(1) for seed in (-1, None))
    # 24 drugs give 5 coefficients and a mean, so the errors of 5 cells average out to 6 / 24 of their variance, which
    # is small beside what shrinking 5 cells to nothing takes away; most of each drug's error goes
    assert told.mean() < 0.7 * alone.mean()
    gain = alone - told
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(DRUGS)
    said = np.mean([np.square(fitted(None).standard_error(0, d, 1.0)) for d in range(DRUGS)])
    assert 0.5 < said / told.mean() < 2  # standard errors are of the size of the errors


@pytest.mark.statistical
def test_shuffled_descriptors_do_not_make_it_worse() -> None:
    _, _, truth = world()
    alone = effects(fitted(-1))
    for seed in range(3):
        model = fitted(seed)
        assert model.unseen is not None
        found = effects(model)
        if model.unseen.warning() is not None:  # which misses one in forty
            assert np.array_equal(found, alone)
        assert np.square(found - truth).mean() < 1.1 * np.square(alone - truth).mean()


def test_the_prediction_of_each_drug_is_the_regression_on_the_others() -> None:
    _, z, _ = world()
    model = fitted(-1)
    told = fitted(None)
    assert told.unseen is not None
    found = predictions(model.singles, model.shifts, told.unseen)
    standard = (z - z.mean(0)) / z.std(0)
    shrunk = effects(model)
    order = np.argsort(model.shifts.drugs)
    observed, variance = model.shifts.y[order], model.shifts.variance[order]
    for d in (0, 7, DRUGS - 1):
        rest = np.arange(DRUGS) != d
        # the formula for what is left out has lambda fixed, which is D times the penalty
        w = weights_of(standard[rest], standard[d], told.unseen.penalty * DRUGS / (DRUGS - 1))
        contrast = w - 1 / (DRUGS - 1)
        mean, error = found[d]
        assert mean[0, 0] == pytest.approx(shrunk[rest].mean(0) + contrast @ observed[rest], abs=1e-6)
        assert error[0, 0] == pytest.approx(contrast**2 @ variance[rest], abs=1e-6)
