"""`gendi sample --options` and `--grid`: what reaches the sampler, what is refused, what `--again` repeats."""

from pathlib import Path

import numpy as np
import pytest

from conftest import Gendi
from gendi.diffusion.gaussian.samplers import get_sampler
from gendi.errors import UsageError


def drawn(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return np.asarray(file["samples"])


def test_an_option_reaches_the_sampler_and_again_repeats_it(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    """Euler-Maruyama apart, sa-solver of order 1 with tau = 0 and no corrector is DDIM on the same times."""
    options = ["--options", "tau=0", "order=1", "correct=false", "--grid", "quadratic"]
    start = ["sample", str(tiny_run), "--n", "2", "--steps", "4"]
    one = gendi(*start, "--sampler", "sa-solver", *options, "--out", str(tmp_path / "one.npz"))
    other = gendi(*start, "--sampler", "ddim", "--grid", "quadratic", "--out", str(tmp_path / "other.npz"))
    plain = gendi(*start, "--sampler", "ddim", "--out", str(tmp_path / "plain.npz"))
    assert one.code == other.code == plain.code == 0, one.err
    gap = drawn(tmp_path / "one.npz").astype(int) - drawn(tmp_path / "other.npz")
    assert np.abs(gap).max() <= 1  # the two round differently
    assert not np.array_equal(drawn(tmp_path / "other.npz"), drawn(tmp_path / "plain.npz"))
    again = gendi("sample", "--again", str(tmp_path / "one.npz"))
    assert again.code == 0, again.err
    np.testing.assert_array_equal(drawn(tmp_path / "one.npz"), drawn(tmp_path / "one-again.npz"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--sampler heun-churn --options chrun=5", "churn"),
        ("--sampler heun-churn --options churn", "NAME=VALUE"),
        ("--sampler heun-churn --options churn=much", "no number"),
        ("--sampler unipc --options order=2.5", "no whole number"),
        ("--sampler unipc --options order=7", "1, 2 and 3"),
        ("--sampler dpmpp-3m --options order=2", "no options"),
        ("--sampler ancestral --options moments=1", "from Python"),
        ("--sampler ancestral --options variance=learned", "learned"),
        ("--grid karas", "karras"),
    ],
)
def test_what_cannot_be_is_refused(gendi: Gendi, tiny_run: Path, tmp_path: Path, flags: str, said: str) -> None:
    out = tmp_path / "x.npz"
    outcome = gendi("sample", str(tiny_run), "--n", "1", "--steps", "4", "--out", str(out), *flags.split())
    assert outcome.code == 2 and said in outcome.err, outcome.err
    assert not out.exists()


def test_options_are_not_taken_with_again(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    assert gendi("sample", str(tiny_run), "--n", "1", "--steps", "2", "--out", str(out)).code == 0
    outcome = gendi("sample", "--again", str(out), "--options", "eta=1")
    assert outcome.code == 2 and "--options" in outcome.err


def test_words_become_what_the_sampler_wants() -> None:
    info = get_sampler("sa-solver")
    assert info.read_option("sa-solver", "tau", "0.5") == 0.5 and info.read_option("sa-solver", "order", "3") == 3
    assert info.read_option("sa-solver", "correct", "False") is False
    assert get_sampler("unipc").read_option("unipc", "rule", "bh1") == "bh1"
    with pytest.raises(UsageError, match="no number"):
        info.read_option("sa-solver", "tau", "x")


def test_a_temperature_is_named_in_the_samples_and_repeated(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    start = ["sample", str(tiny_run), "--n", "2", "--steps", "4", "--sampler", "dpmpp-2m-sde"]
    for name, flags in {"plain": [], "cold": ["--temperature", "0.5"], "calm": ["--noise-scale", "0"]}.items():
        assert gendi(*start, *flags, "--out", str(tmp_path / f"{name}.npz")).code == 0
    plain, cold, calm = (drawn(tmp_path / f"{name}.npz") for name in ("plain", "cold", "calm"))
    assert not np.array_equal(plain, cold) and not np.array_equal(plain, calm) and not np.array_equal(cold, calm)
    with np.load(tmp_path / "cold.npz") as file:
        assert '"temperature": 0.5' in str(file["settings"])
    assert gendi("sample", "--again", str(tmp_path / "cold.npz")).code == 0
    np.testing.assert_array_equal(cold, drawn(tmp_path / "cold-again.npz"))
    refused = gendi(*start, "--temperature", "0", "--out", str(tmp_path / "x.npz"))
    assert refused.code == 2 and "temperature" in refused.err, refused.err
