"""fit and predict: AnnData in, AnnData out; by transport and by diffusion."""

import json

import numpy as np
import pytest
import torch
from test_perturbation_world import KEYS, small

from gendi.api.perturbation import Perturbation, fit, predict
from gendi.diffusion.gaussian.config import SampleConfig
from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.errors import UsageError


@pytest.fixture(scope="module")
def model() -> Perturbation:
    return fit(small().to_anndata(), **KEYS, diffusion=True, steps=30)


@pytest.mark.parametrize("how", ["transport", "diffusion"])
def test_an_unseen_dose_gives_whole_counts_like_the_training_data(model: Perturbation, how: str) -> None:
    asked = {"cell_type": "b", "drug": "drug1", "dose": 2.0, "how": how, "seed": 4}
    out = predict(model, **asked, n=40)
    again = predict(model, **asked, n=40)
    counts = out.layers["counts"].toarray()
    assert out.shape == (40, 60) and counts.dtype.kind == "i" and counts.min() >= 0
    assert out.X.toarray() == pytest.approx(np.log1p(1e4 * counts / counts.sum(1, keepdims=True)), rel=1e-5)
    assert np.array_equal(out.X.toarray(), again.X.toarray())
    assert not np.array_equal(out.X.toarray(), predict(model, **asked | {"seed": 5}, n=40).X.toarray())
    assert list(out.obs["cell_type"].cat.categories) == ["a", "b", "c"]
    assert set(out.obs["drug"]) == {"drug1"} and set(out.obs["dose"]) == {2.0}
    assert json.loads(out.uns["gendi"])["how"] == how
    assert list(out.var_names) == list(small().to_anndata().var_names)


@pytest.mark.statistical
@pytest.mark.parametrize("how", ["transport", "diffusion"])
def test_means_are_the_controls_times_the_predicted_fold(
    model: Perturbation, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = model.diffusion.denoiser  # in its place the exact one of standard normal factors: marginals are exact
    d = model.diffusion.codec.shape[0]
    exact = GaussianDenoiser(network.schedule, torch.zeros(d), torch.eye(d))
    monkeypatch.setattr(model.diffusion, "denoiser", exact)
    monkeypatch.setattr(model.diffusion, "settings", SampleConfig(sampler="ancestral-karras", steps=200))
    out = predict(model, cell_type="b", drug="drug1", dose=10.0, how=how, n=900)
    e = model.experiment
    controls = e.controls(1)
    lfc = model.effects.lfc(1, 1, 10.0)
    wanted = np.exp(lfc) * np.resize(controls, (900, 60)).mean(0)
    counts = out.layers["counts"].toarray()
    error = counts.std(0) / 30
    # 60 genes at 4.5 sampling errors: 4e-4; the type's rates borrow a tenth of a cell from all types, 1% of 15 cells
    assert (np.abs(counts.mean(0) - wanted) < 4.5 * error + 0.02 * wanted + 0.05).all()


def test_guidance_has_two_scales(model: Perturbation) -> None:
    asked = {"cell_type": "a", "drug": "drug0", "dose": 1.0, "how": "diffusion", "n": 20}
    plain, same, drug, state = (
        predict(model, **asked, **scales).X.toarray()
        for scales in ({}, {"state_scale": 1.0, "drug_scale": 1.0}, {"drug_scale": 3.0}, {"state_scale": 3.0})
    )
    assert np.array_equal(plain, same)
    assert not np.array_equal(plain, drug)
    assert not np.array_equal(plain, state)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cell_type": "bb"}, "'b'"),
        ({"drug": "drug9"}, "drug0"),
        ({"dose": -1.0}, "dose"),
        ({"dose": np.nan}, "dose"),
        ({"how": "magic"}, "transport"),
        ({"n": 0}, "n = 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(model: Perturbation, changes: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        predict(model, **{"cell_type": "b", "drug": "drug1", "dose": 1.0} | changes)


def test_diffusion_must_have_been_fitted() -> None:
    plain = fit(small().to_anndata(), **KEYS, interactions=False)
    with pytest.raises(UsageError, match="diffusion=True"):
        predict(plain, cell_type="b", drug="drug1", dose=1.0, how="diffusion")
