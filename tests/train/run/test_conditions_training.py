"""Training with several conditions: each is dropped with its own probability, and going on is exact."""

import dataclasses
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from gendi.data import open_data
from gendi.data.images.low_resolution import low_resolution
from gendi.diffusion.conditions import is_null
from gendi.diffusion.config import ConditionConfig
from gendi.errors import PreemptedError, UsageError
from gendi.storage.toml import read_toml
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.run.loop import train
from gendi.train.step.resolve import resolve
from gendi.train.step.trainer import Trainer
from stop_at import StopAt

EVERYTHING = ("class", "hair", "dose", "pose", "wears", "depth", "low-res:3")


@pytest.fixture
def rich(tmp_path: Path) -> str:
    """40 images of 10x9 of which everything is known, or almost."""
    rng, n = np.random.default_rng(0), 40
    images = rng.integers(0, 256, (n, 10, 9, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "rich.npz",
        images=images,
        labels=np.arange(n) % 3,
        hair=np.array(["red", "black", ""])[np.arange(n) % 3],
        dose=np.where(np.arange(n) % 9 == 0, np.nan, rng.normal(5, 2, n)),
        pose=rng.normal(size=(n, 4)),
        wears=rng.random((n, 5)) < 0.5,
        depth=255 - images[..., :1],
    )
    return str(tmp_path / "rich.npz")


def asking(config: RunConfig, names: tuple[str, ...], dropout: float = 0.1, **fields: object) -> RunConfig:
    changed = dataclasses.replace(config.train, **fields)  # type: ignore[arg-type]
    conditions = tuple(ConditionConfig(name, dropout=dropout) for name in names)
    return dataclasses.replace(config, conditions=conditions, train=changed)


def test_each_condition_s_dropout_works_alone(rich: str, tiny: RunConfig) -> None:
    """Published codes drop an empty slice, or all conditions at once."""
    shares = dict(zip(EVERYTHING, (0.0, 1.0, 0.5, 0.25, 0.5, 0.0, 0.75), strict=True))
    config = asking(tiny, EVERYTHING, batch_size=50)
    config = dataclasses.replace(
        config, conditions=tuple(dataclasses.replace(c, dropout=shares[c.name]) for c in config.conditions)
    )
    data = open_data(rich)
    trainer = Trainer(config, data)
    nulls = {name: [] for name in shares}
    for step in range(40):
        for name, value in trainer.batch(step)[1].items():
            nulls[name].append(is_null(value))
    n = 2000
    null = {name: torch.cat(rows) for name, rows in nulls.items()}
    known = {spec.name: float((~is_null_rows(data.train.conditions.get(spec.name))).mean()) for spec in data.conditions}
    for name, share in shares.items():
        expected = 1 - (1 - share) * known.get(name, 1.0)
        # Five binomial standard deviations; epochs visit what is missing evenly, so that part varies less.
        assert abs(float(null[name].float().mean()) - expected) <= 5 * (expected * (1 - expected) / n) ** 0.5 + 0.02, (
            name
        )
    assert not null["class"].any() and null["hair"].all()
    both = (null["dose"] & null["wears"]).float().mean() - null["dose"].float().mean() * null["wears"].float().mean()
    assert abs(float(both)) < 5 * (1 / 16 / n) ** 0.5  # independent: a covariance of 0


def is_null_rows(rows: np.ndarray) -> np.ndarray:
    return rows < 0 if rows.dtype == np.int64 else np.isnan(rows.astype(float)).reshape(len(rows), -1).all(1)


@pytest.mark.parametrize("fields", [{}, {"flip": True, "crop": 1.2}], ids=["plain", "augmented"])
def test_pictures_among_the_conditions_belong_to_their_image(
    rich: str, tiny: RunConfig, fields: dict[str, object]
) -> None:
    trainer = Trainer(asking(tiny, ("depth", "low-res:3"), 0.0, **fields), open_data(rich))
    for step in range(3):
        x_0, cond = trainer.batch(step)
        torch.testing.assert_close(cond["depth"], -x_0[:, :1], rtol=0, atol=1e-5 if not fields else 2 / 127.5)
        assert torch.equal(cond["low-res:3"], low_resolution(x_0, 3))


def test_interrupted_and_resumed_is_exact_with_everything(tmp_path: Path, rich: str, tiny: RunConfig) -> None:
    config = asking(tiny, EVERYTHING, 0.3, flip=True, crop=1.3, preview_every=0)
    whole, run = tmp_path / "whole", tmp_path / "interrupted"
    train(rich, config, whole, Budget(steps=12))
    with pytest.raises(PreemptedError):
        train(rich, config, run, Budget(steps=12), console=StopAt(7, signal.SIGTERM))
    train(rich, config, run, Budget(steps=12))
    one, two = load_latest(whole), load_latest(run)
    assert one is not None and two is not None and one.step == two.step == 12
    for group in ("model", "ema", "optimizer"):
        for name, tensor in one.tensors[group].items():
            assert torch.equal(tensor, two.tensors[group][name]), (group, name)
    assert (whole / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    written = RunConfig.from_dict(read_toml(run / "config.toml")["config"])
    assert written.conditions == resolve(config, open_data(rich)).conditions
    assert written.conditions[1].names == ("black", "red")


def test_a_run_that_begins_to_flip_is_another_run(tmp_path: Path, rich: str, tiny: RunConfig) -> None:
    train(rich, asking(tiny, ("class",)), tmp_path / "run", Budget(steps=2))
    with pytest.raises(UsageError, match="train.flip was False, is True"):
        train(rich, asking(tiny, ("class",), flip=True), tmp_path / "run", Budget(steps=4))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "clas",
            "no condition of rich.npz named 'clas'. Perhaps you meant 'class'. Known: class, depth, dose, hair, low",
        ),
        ("low-res:10", "F from 2 to 9"),
    ],
)
def test_a_condition_that_is_not_there(rich: str, tiny: RunConfig, name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(asking(tiny, (name,)), open_data(rich))
    assert said in str(caught.value)


def test_why_something_is_no_condition_is_said_when_it_is_asked_for(tmp_path: Path, tiny: RunConfig) -> None:
    images = np.zeros((9, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, dose=np.zeros(8))
    data = open_data(str(tmp_path / "a.npz"))
    with pytest.raises(UsageError, match="a.npz has 'dose', but no condition can be made of it: it has 8 rows for 9"):
        resolve(asking(tiny, ("dose",)), data)
    with pytest.raises(UsageError, match="a.npz has no conditions .except low-res:F.: sort the images into"):
        resolve(asking(tiny, ("class",)), data)


@pytest.mark.parametrize("crop", [0.9, 4.1, float("nan")])
def test_a_crop_that_cannot_be(tiny: RunConfig, crop: float) -> None:
    with pytest.raises(UsageError, match="train.crop = .* between 1 and 4"):
        asking(tiny, (), crop=crop).validate()
