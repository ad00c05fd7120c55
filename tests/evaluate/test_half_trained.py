"""Samples of a model that has hardly begun to train, put through the metrics: no imitation of one."""

from pathlib import Path

import numpy as np
import pytest
from test_controls import drawings

import gendi
from gendi.data import open_data
from gendi.data.images import learned_features
from gendi.data.images.evaluation import evaluate
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.train.config import OptimConfig, RunConfig, TrainConfig

CONFIG = RunConfig(
    preset="tiny",
    network=NetworkConfig(channels=(16, 32), blocks=1, patch=2, groups=4, time_dim=32),
    process=ProcessConfig(schedule="cosine", steps=None),
    objective=ObjectiveConfig(precondition=True, weighting="edm", time_sampling="log-normal"),
    optim=OptimConfig(name="muon", lr=3e-3),
    train=TrainConfig(batch_size=32, preview_every=0, precision="fp32"),
)


@pytest.mark.slow
def test_samples_of_a_barely_trained_model_are_far_outside_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discs and bars after 40 steps of 32. A twentieth of the drawings, 200, are
    held out, as many as there are samples. Unseen ones pass by the same gates."""
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(learned_features, "STEPS", 25)
    np.savez(tmp_path / "drawn.npz", images=drawings(4000, 0))
    data = open_data(str(tmp_path / "drawn.npz"))
    model = gendi.fit(str(tmp_path / "drawn.npz"), out=tmp_path / "run", config=CONFIG, steps=40, quiet=True)
    samples = gendi.sample(model, n=200, steps=8, seed=0)
    assert samples.std() > 10  # it draws something
    fake, real = (evaluate(x, data, n=200) for x in (samples, drawings(200, 9)))
    caught = {m.name for m in fake.metrics if m.graded and m.check is not None and m.check.passed is False}
    assert {"fid-learned", "kid-learned"} & caught
    for name in {"fid-learned", "kid-learned"} & caught:
        assert fake[name].value > 5 * max(fake[name].floor, real[name].value)  # type: ignore[operator,type-var]
        assert real[name].check is not None and real[name].check.passed
