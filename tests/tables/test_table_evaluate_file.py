"""A file of samples is measured as the DataFrame in it is."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import gendi
from gendi.cli.evaluate import main
from gendi.data import open_data
from gendi.data.tables.evaluate import evaluate
from gendi.data.tables.output import write_table
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import DataError, UsageError
from gendi.evaluate.vectors import metrics
from gendi.train.presets import get_preset

pd = pytest.importorskip("pandas")


@pytest.fixture(autouse=True)
def no_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "JUDGES", metrics.JUDGES[1:])
    monkeypatch.setattr("gendi.evaluate.vectors.rows.SPLITS", 3)


def people(n: int, seed: int) -> "pd.DataFrame":
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    height = rng.normal(170, 9, n).round(1)
    height[::9] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "height": height,
            "town": np.array(["NA", "Ulm", "Bern"])[rng.integers(0, 3, n)],
            "born": pd.Timestamp("2020-01-01") - pd.to_timedelta(365 * age, unit="D"),
        }
    )


@pytest.fixture
def real(tmp_path: Path) -> str:
    people(150, 0).to_csv(tmp_path / "real.csv", index=False)
    return str(tmp_path / "real.csv")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_is_measured_as_its_frame(tmp_path: Path, real: str, ending: str) -> None:
    data, fake = open_data(real), people(40, 1)
    write_table(tmp_path / f"fake.{ending}", fake)
    found = evaluate(tmp_path / f"fake.{ending}", data, n=25)
    assert found.metrics == evaluate(fake, data, n=25).metrics
    assert found["energy"].value is not None and found.portrait is not None and not found.portrait.zeros_real


def test_what_is_no_table_is_said(tmp_path: Path, real: str) -> None:
    with pytest.raises(DataError, match="There is no file"):
        evaluate(tmp_path / "none.csv", open_data(real))
    (tmp_path / "bad.parquet").write_text("hello")
    with pytest.raises(DataError, match="could not be read as a table"):
        evaluate(tmp_path / "bad.parquet", open_data(real))


def test_the_command_measures_a_file(tmp_path: Path, real: str, capsys: pytest.CaptureFixture[str]) -> None:
    people(40, 2).to_csv(tmp_path / "fake.csv", index=False)
    assert main(["--samples", str(tmp_path / "fake.csv"), "--data", real]) == 0
    assert "gates passed" in capsys.readouterr().out


def test_a_model_of_a_frame_is_measured_against_the_frame(tmp_path: Path) -> None:
    """The bundle does not hold the frame: without it the refusal says what to give, and with it a model is measured as
    its samples are."""
    frame, preset = people(150, 0), get_preset("table").config
    config = dataclasses.replace(preset, network=NetworkConfig("mlp", channels=(8,), blocks=1, time_dim=8))
    model = gendi.fit(frame, out=tmp_path / "run", config=config, steps=1, quiet=True)
    with pytest.raises(UsageError, match=r"trained on an object in memory.*gendi\.measure\(model, data\)"):
        gendi.measure(model, n=25)
    found = gendi.measure(model, frame, n=25)
    assert found.metrics == gendi.measure(gendi.sample(model, n=25, seed=0), frame, n=25).metrics
