"""What a model says of itself: the errors it reports are those against the truth, which is known here."""

from pathlib import Path

import numpy as np
import pytest
from test_perturbation_models import curve_world, exact, learned
from test_perturbation_world import small

from gendi.api.perturbation import load
from gendi.cli import main
from gendi.data.cells.perturbation.held_out import MODELS, HeldOut, held_conditions, measure
from gendi.data.cells.perturbation.hill import hill
from gendi.data.cells.perturbation.treatments import Treatments


@pytest.mark.statistical
def test_what_is_explained_is_what_the_truth_says() -> None:
    shifts, a = curve_world(True)
    model = learned(Treatments(), shifts)
    assert isinstance(model, Treatments)
    found = measure(model)
    assert found is not None and set(found.kinds) == {"dose", "pair"}
    truth = {i: a[shifts.types[i]] * hill(shifts.doses[i], 1.0, 2.0) for i in held_conditions(model)}
    w = 1 / (shifts.variance[0] + shifts.control_variance[0] + 0.1)
    nothing = np.array([float((w * t**2).sum()) for t in truth.values()])
    # the squares of 200 errors of 0.05, weighted by 10: 0.2 * sqrt(2 * 200) * 0.0025 = 0.5, and twice truth by error
    slack = 4 * (10 * 0.0025 * np.sqrt(400) + 2 * 0.05 * 10 * np.sqrt(nothing.mean() / 10))
    assert np.abs(found.errors[MODELS.index("no change")] - nothing).max() < slack
    dose = found.explained("dose", "model")
    assert dose is not None and dose[0] > 0.9 > 5 * dose[1]
    assert "held out): model" in found.lines()[0]


def test_a_jackknife_of_a_ratio() -> None:
    errors = np.array([[1.0, 2.0, 4.0], [10.0, 10.0, 10.0], [5.0, 5.0, 5.0], [0.0, 0.0, 0.0]])
    found = HeldOut(("dose",) * 3, errors)
    value, error = found.explained("dose", "model") or (0.0, 0.0)
    assert value == pytest.approx(1 - 7 / 30)
    # with the same denominator everywhere, it is the standard error of the mean of 0.9, 0.8 and 0.6
    assert error == pytest.approx(np.std([0.9, 0.8, 0.6], ddof=1) / np.sqrt(3))
    assert found.explained("pair", "model") is None
    flat = HeldOut(("dose",) * 2, np.array([[0.1, 0.1], [-0.1, 0.05], [0.0, 0.0], [0.0, 0.0]]))
    assert flat.explained("dose", "model") is None and not flat.lines()


@pytest.mark.filterwarnings("ignore:The dose curve", "ignore:At held-out doses")
def test_it_goes_through_files_commands_and_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gendi.report.perturbation.MOST_DRUGS", 0)  # figures take time
    small().to_anndata().write_h5ad("drugs.h5ad")
    columns = ["--cell-type", "cell_type", "--drug", "drug", "--dose", "dose", "--control", "control"]
    assert main(["cells", "perturb", "fit", "drugs.h5ad", *columns, "--measure", "--out", "m"]) == 0
    assert "is explained (1 is perfect)" in capsys.readouterr().out
    model = load("m")
    assert model.held_out is not None and model.held_out.lines()
    page = Path("m/report.html").read_text(encoding="utf-8")
    assert "How well it does" in page and "Changes of means were compared" in page


def test_too_few_conditions_hold_nothing_out() -> None:
    model = learned(Treatments(), exact(np.random.default_rng(0).normal(size=(2, 2, 1, 30)), (1.0,)))
    assert isinstance(model, Treatments) and measure(model) is None
