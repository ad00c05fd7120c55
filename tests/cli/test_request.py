"""A request is made from flags or from keywords, and is checked once, in one place, for both."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gendi as library
from conftest import Gendi
from gendi.api.guidance import Guidance
from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.request import Request, read_request
from gendi.data.images.sample_files import read_samples
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.errors import UsageError
from gendi.train.kept.bundle import Bundle, load_bundle, save_bundle


@pytest.fixture(scope="module")
def bundle(tiny_run: Path) -> Bundle:
    return load_bundle(tiny_run)


def test_flags_and_keywords_draw_the_same(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    flags = ["--sampler", "ddim", "--steps", "4", "--eta", "0.5", "--grid", "log-snr", "--seed", "5", "--n", "3"]
    flags += ["--class", "1", "--guidance", "2", "--guidance-interval", "0.3", "5", "--negative", "0"]
    assert gendi("sample", str(tiny_run), *flags, "--out", str(tmp_path / "x.npz")).code == 0
    guidance = Guidance(2.0, interval=(0.3, 5.0), negative={"class": 0})
    how: dict[str, Any] = {"sampler": "ddim", "steps": 4, "eta": 0.5, "grid": "log-snr", "seed": 5}
    ours = library.sample(tiny_run, 3, condition={"class": 1}, guidance=guidance, batch_size=250, **how)
    np.testing.assert_array_equal(ours, read_samples(tmp_path / "x.npz"))
    made = read_request(tmp_path / "x.npz")
    drawing = Drawing(steps=4, sampler="ddim", seed=5, grid="log-snr", options={"eta": 0.5})
    assert made.how == drawing and made.n == 3 and made.weights is not None


def test_the_numbers_of_a_part(bundle: Bundle) -> None:
    """Samples 2 to 4 of a request are those of a request of their own."""
    whole = Request.of(bundle, 5, {"steps": 3, "first_index": 10})
    assert list(whole.part(3, 12).indices) == [12, 13, 14]
    images = library.sample(bundle, 5, steps=3, first_index=10)
    apart = library.sample(bundle, 3, steps=3, first_index=12, condition={"class": [0, 1, 0]})
    assert np.abs(images[2:].astype(int) - apart).max() <= 1


def test_a_model_may_have_a_guidance_of_its_own(gendi: Gendi, bundle: Bundle, tiny_run: Path, tmp_path: Path) -> None:
    guided = _with_guidance(bundle, 3.0)
    asked = library.sample(bundle, 4, steps=3, guidance=3.0)
    np.testing.assert_array_equal(library.sample(guided, 4, steps=3), asked)
    np.testing.assert_array_equal(library.sample(guided, 4, steps=3, guidance=1.0), library.sample(bundle, 4, steps=3))
    assert (asked != library.sample(bundle, 4, steps=3)).any()
    assert Request.of(guided, 4, {}).to_dict()["guidance"] == {"scale": 3.0}
    assert Request.of(bundle, 4, {}).guidance is None
    run = shutil.copytree(tiny_run, tmp_path / "run")
    save_bundle(run / "bundle", guided)
    assert gendi("sample", str(run), "--n", "4", "--steps", "3", "--out", str(tmp_path / "own.npz")).code == 0
    np.testing.assert_array_equal(read_samples(tmp_path / "own.npz"), asked)
    assert read_request(tmp_path / "own.npz").guidance == Guidance(3.0)


@pytest.mark.parametrize("dropout", [None, 0.0])
def test_a_model_that_cannot_be_guided_is_not(bundle: Bundle, dropout: float | None) -> None:
    """Neither a model without conditions nor one that never was without them is guided by its own configuration."""
    guided = _with_guidance(bundle, 3.0)
    specs = () if dropout is None else tuple(dataclasses.replace(c, dropout=dropout) for c in bundle.config.conditions)
    plain = dataclasses.replace(guided, config=dataclasses.replace(guided.config, conditions=specs))
    assert Request.of(plain, 4, {}).guidance is None


def _with_guidance(bundle: Bundle, scale: float) -> Bundle:
    sample = dataclasses.replace(bundle.config.sample, guidance=scale)
    return dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, sample=sample))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 0}, "n = 0"),
        ({"seed": -1}, "from 0 to"),
        ({"first_index": -1}, "from 0 to"),
        ({"batch_size": 0}, "batch size 0"),
        ({"steps": 11}, "chain has 10 steps"),
        ({"sampler": "ddmi"}, "Perhaps you meant 'ddim'"),
        ({"grid": "karas"}, "Perhaps you meant 'karras'"),
        ({"options": {"churn": 1.0}}, "churn"),
        ({"temperature": 0.0}, "temperature = 0"),
        ({"noise_scale": -1.0}, "noise_scale = -1"),
        ({"precision": "fp16"}, "fp32"),
        ({"condition": {"class": 7}}, "classes 0 to 1"),
        ({"condition": {"size": 7}}, "There is no condition named 'size'"),
        ({"guidance": Guidance(float("nan"))}, "nan"),
    ],
)
def test_what_cannot_be_is_found_before_the_work_starts(bundle: Bundle, changes: dict[str, Any], said: str) -> None:
    good = Request.of(bundle, 4, {"steps": 4}, guidance=Guidance(2.0))
    fields = {field.name for field in dataclasses.fields(Drawing)}
    how = dataclasses.replace(good.how, **{name: value for name, value in changes.items() if name in fields})
    rest = {name: value for name, value in changes.items() if name not in fields}
    request = dataclasses.replace(good, how=how, **rest)
    with pytest.raises(UsageError, match=said):
        prepare(request, Models.read(bundle, request.guidance))
    assert prepare(good, Models.read(bundle, good.guidance)).cond["class"].tolist() == [0, 1, 0, 1]
