"""Evaluations during a run: exact on resume, within their share of the work, with the best model beside the last."""

import dataclasses
import itertools
import json
import math
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_distributed import ended, start
from test_resume import assert_equal_runs

from gendi.data.images import gauge as picture_gauge
from gendi.data.images import learned_features
from gendi.data.images.kind import Images
from gendi.diffusion import GaussianDenoiser, make_schedule, sample
from gendi.errors import PreemptedError, UsageError
from gendi.evaluate.gauge import GaugeChoice, Quantity
from gendi.storage.files import read_json
from gendi.storage.record import RunRecord
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import load_bundle
from gendi.train.kept.checkpoint import load_latest
from gendi.train.kept.status import read_lines
from gendi.train.kept.verify import verify
from gendi.train.progress import evaluating
from gendi.train.run.loop import train
from stop_at import StopAt

STEPS, EVERY = 24, 28  # an evaluation every fourth step


@pytest.fixture
def watched(tiny: RunConfig, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setattr(evaluating, "SAMPLES", 8)
    monkeypatch.setattr(evaluating, "CALLS", 2)
    monkeypatch.setattr(evaluating, "SHARE", 1.0)
    return with_train(tiny, evaluate_every=EVERY)


def with_train(config: RunConfig, **fields: object) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **fields))


def found(run: Path) -> dict[int, dict]:
    return {line["step"]: line["evaluation"] for line in read_lines(run / "metrics.jsonl") if "evaluation" in line}


def assert_equal(a: Path, b: Path) -> None:
    assert_equal_runs(a, b)
    assert (a / "bundle-best/model.safetensors").read_bytes() == (b / "bundle-best/model.safetensors").read_bytes()


@pytest.fixture
def whole(tmp_path: Path, images: str, watched: RunConfig) -> Path:
    run = tmp_path / "whole"
    train(images, watched, run, Budget(steps=STEPS))
    return run


def test_evaluations_change_no_weight_and_no_other_line(tmp_path: Path, images: str, tiny: RunConfig, whole: Path):
    train(images, tiny, tmp_path / "without", Budget(steps=STEPS))
    one, two = load_latest(whole), load_latest(tmp_path / "without")
    assert one is not None and two is not None
    for group in ("model", "ema", "optimizer"):
        assert all(torch.equal(tensor, two.tensors[group][name]) for name, tensor in one.tensors[group].items())
    lines = [line for line in read_lines(whole / "metrics.jsonl") if "evaluation" not in line]
    assert lines == read_lines(tmp_path / "without/metrics.jsonl")
    assert list(found(whole)) == [4, 8, 12, 16, 20, 24] and not found(tmp_path / "without")


@pytest.mark.parametrize("step", [8, 10])
def test_a_run_stopped_between_or_at_evaluations_goes_on_exactly(
    tmp_path: Path, images: str, watched: RunConfig, whole: Path, step: int
) -> None:
    run = tmp_path / "interrupted"
    with pytest.raises(PreemptedError):
        train(images, watched, run, Budget(steps=STEPS), console=StopAt(step))
    train(images, watched, run, Budget(steps=STEPS))
    assert_equal(run, whole)


def test_a_stop_during_an_evaluation_abandons_it_and_the_resumed_run_does_it_first(
    tmp_path: Path, images: str, watched: RunConfig, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, family_of = tmp_path / "interrupted", evaluating.family_of
    sent: list[int] = []

    def stopping(config):
        own = family_of(config)

        def draw(*args):
            if not sent:
                sent.append(1)
                os.kill(os.getpid(), signal.SIGTERM)
            return own.draw(*args)

        return SimpleNamespace(quick=own.quick, draw=draw)

    monkeypatch.setattr(evaluating, "family_of", stopping)
    with pytest.raises(PreemptedError):
        train(images, watched, run, Budget(steps=STEPS))
    checkpoint = load_latest(run)
    assert checkpoint is not None and checkpoint.step == 4 and checkpoint.state["evaluations"]["pending"]
    assert not found(run)
    train(images, watched, run, Budget(steps=STEPS))
    assert_equal(run, whole)


def test_the_best_model_is_the_one_with_the_smallest_distance_and_the_run_is_its_last(
    images: str, watched: RunConfig, whole: Path
) -> None:
    distances = {step: entry["metrics"]["kid-pixels"]["value"] for step, entry in found(whole).items()}
    best, last = load_bundle(whole / "bundle-best"), load_bundle(whole)
    assert best.meta["step"] == min(distances, key=distances.__getitem__)
    assert best.meta["metrics"]["kid-pixels"]["value"] == min(distances.values())
    assert last.meta["step"] == STEPS
    assert "kid-pixels" in (whole / "bundle-best/README.md").read_text()


def test_what_looks_copied_is_never_the_best(
    tmp_path: Path, images: str, watched: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Copied:
        def __call__(self, rows, poll=None):
            return Quantity("kid-pixels", 0.1, 0.01), Quantity("train-likeness", 0.9, 0.01, 0.5, 0.02)

        def work(self, n):
            return 0.0

    monkeypatch.setattr(Images, "gauge", lambda self, data, seed: Copied())
    train(images, watched, tmp_path / "run", Budget(steps=8))
    assert len(found(tmp_path / "run")) == 2 and not (tmp_path / "run/bundle-best").exists()


def test_verify_checks_the_best_bundle_and_fresh_removes_it(
    tmp_path: Path, images: str, watched: RunConfig, whole: Path
) -> None:
    results = {checked.path.name: checked.problem for checked in verify(whole)}
    assert results["bundle-best"] is None
    (whole / "bundle-best/MANIFEST.json").unlink()
    (whole / "bundle-best/model.safetensors").unlink()
    results = {checked.path.name: checked.problem for checked in verify(whole)}
    assert results["bundle-best"] is not None and results["bundle"] is None
    train(images, with_train(watched, evaluate_every=0), whole, Budget(steps=2), fresh=True)
    assert not (whole / "bundle-best").exists()


@pytest.fixture
def level_from_the_third(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "judge", lambda readings, count: "level" if count >= 3 else None)


def test_stop_when_level_ends_as_at_the_end_of_a_budget(
    tmp_path: Path, images: str, watched: RunConfig, level_from_the_third: None
) -> None:
    config, run = with_train(watched, stop_when_level=True), tmp_path / "run"
    result = train(images, config, run, Budget(steps=STEPS))
    assert (result.step, result.finished, result.level, result.already_finished) == (16, True, True, False)
    assert read_json(run / "status.json")["status"] == "finished"
    assert load_bundle(run).meta["step"] == 16 and list(found(run)) == [4, 8, 12, 16]
    again = train(images, config, run, Budget(steps=STEPS))
    assert again.already_finished and again.level and again.step == 16


def test_stop_when_level_is_exact_on_resume(
    tmp_path: Path, images: str, watched: RunConfig, level_from_the_third: None
) -> None:
    config = with_train(watched, stop_when_level=True)
    train(images, config, tmp_path / "whole", Budget(steps=STEPS))
    with pytest.raises(PreemptedError):
        train(images, config, tmp_path / "run", Budget(steps=STEPS), console=StopAt(14))
    train(images, config, tmp_path / "run", Budget(steps=STEPS))
    assert_equal(tmp_path / "run", tmp_path / "whole")


def test_a_level_run_goes_on_without_the_flag_as_if_it_had_never_ended(
    tmp_path: Path, images: str, watched: RunConfig, level_from_the_third: None
) -> None:
    train(images, watched, tmp_path / "whole", Budget(steps=STEPS))
    run = tmp_path / "run"
    train(images, with_train(watched, stop_when_level=True), run, Budget(steps=STEPS))
    result = train(images, watched, run, Budget(steps=STEPS))
    assert (result.step, result.level) == (STEPS, False)
    assert_equal(run, tmp_path / "whole")


def test_stop_when_level_without_evaluations_is_refused(tiny: RunConfig) -> None:
    with pytest.raises(UsageError, match="evaluate_every"):
        with_train(tiny, stop_when_level=True).validate()


def test_with_a_budget_in_steps_the_counted_work_decides_and_the_clock_does_not(
    tmp_path: Path, images: str, watched: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation of 8 samples and 2 calls, and the held-out loss, are 3 passes of 8 rows, 3 * 8 / 7 / 3 steps of 7
    rows; the distance adds little. At a third of the work, that is one evaluation every fourth step."""
    config = with_train(watched, evaluate_every=14)
    for name, seconds in (("quick", 0.0), ("slow", 1000.0)):
        ticks = itertools.count(step=seconds)
        monkeypatch.setattr(evaluating, "SHARE", 1 / 3)
        monkeypatch.setattr(evaluating, "time", SimpleNamespace(monotonic=ticks.__next__))
        train(images, config, tmp_path / name, Budget(steps=STEPS))
    assert (tmp_path / "quick/metrics.jsonl").read_bytes() == (tmp_path / "slow/metrics.jsonl").read_bytes()
    assert list(found(tmp_path / "slow")) == [4, 8, 12, 16, 20, 24]
    assert "every 28 images rather than 14" in (tmp_path / "quick/train.log").read_text()
    assert "evaluations have taken" in (tmp_path / "slow/train.log").read_text()


def test_with_a_budget_in_seconds_evaluations_are_put_off_while_they_would_take_too_long(
    tmp_path: Path, images: str, watched: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_train(watched, checkpoint_every=60.0)
    train(images, config, tmp_path / "some", Budget(seconds=2))
    shares = [t["evaluation_share"] for t in read_lines(tmp_path / "some/timings.jsonl") if "evaluation_share" in t]
    assert shares and all(math.isfinite(share) for share in shares)
    monkeypatch.setattr(evaluating, "SHARE", 0.0)
    train(images, config, tmp_path / "none", Budget(seconds=1))
    assert not found(tmp_path / "none")


def test_data_that_cannot_be_measured_train_without_evaluations(
    tmp_path: Path, images: str, watched: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self, data, seed):
        raise UsageError("There are too few.")

    monkeypatch.setattr(Images, "gauge", refused)
    train(images, watched, tmp_path / "run", Budget(steps=8))
    assert not found(tmp_path / "run") and "too few" in (tmp_path / "run/train.log").read_text()


def test_a_run_killed_before_its_first_checkpoint_leaves_no_best_model(
    tmp_path: Path, images: str, watched: RunConfig, whole: Path
) -> None:
    """The run that begins in its folder is another one, so the best of the dead run is not its best."""
    run = tmp_path / "again"
    run.mkdir()
    shutil.copytree(whole / "bundle-best", run / "bundle-best")
    record = RunRecord(run)
    record.begin()
    record.add(run / "bundle-best")
    train(images, with_train(watched, seed=1), run, Budget(steps=2))
    assert not (run / "bundle-best").exists()


@pytest.mark.slow
def test_two_processes_evaluate_at_one_step(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    """Nine passes of 256 rows, as many as a batch has, are three steps: less than 5% of a hundred."""
    config = with_train(tiny, batch_size=256, evaluate_every=25_600, checkpoint_every=60.0, preview_every=0)
    run = tmp_path / "run"
    codes, said = ended(start(2, images, json.dumps(config.to_dict()), run, 103, "", ""))
    assert codes == [0, 0], said
    assert list(found(run)) == [100, 103] and load_bundle(run / "bundle-best").meta["step"] in (100, 103)


@pytest.mark.statistical
def test_the_sampler_of_evaluations_draws_a_gaussian_right() -> None:
    """With the exact denoiser, so that the distance measures the model. 20,000 samples: an entry of their covariance
    has a standard error of at most 1%; the bound is 2% and three of these."""
    cov = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    denoiser = GaussianDenoiser(make_schedule("cosine", None), torch.zeros(2, dtype=torch.float64), cov)
    x = sample(denoiser, (2,), 20_000, steps=evaluating.CALLS, sampler=evaluating.SAMPLER, batch_size=20_000)
    assert (torch.cov(x.double().T) - cov).abs().max() < 0.05


# --- a distance that takes fakes for real data ---------------------------------------------------------------------


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Images, "choose_gauge", lambda self, data, seed, spare, poll=None: GaugeChoice(missed=("blurred",))
    )
    monkeypatch.setattr(evaluating, "judge", lambda readings, count: "level" if count >= 2 else None)


def test_a_distance_that_misses_a_fake_decides_nothing(
    tmp_path: Path, images: str, watched: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind(monkeypatch)
    config, run = with_train(watched, stop_when_level=True), tmp_path / "run"
    result = train(images, config, run, Budget(steps=STEPS))
    assert (result.step, result.level) == (STEPS, False)
    lines = found(run)
    assert {line["verdict"] for line in lines.values()} == {None}
    assert all(line["missed"] == ["blurred"] for line in lines.values())
    assert load_bundle(run / "bundle-best").meta["step"] == max(lines)  # the last one, whatever its distance
    log = (run / "train.log").read_text()
    assert "takes fakes for real data here (blurred)" in log and log.count("decides nothing") == 1
    assert "uncertain" in log and "too early to say" not in log


def test_what_measures_is_kept_in_the_run(
    tmp_path: Path, images: str, watched: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is resumed where the choice would now be another one goes on with its own."""
    with monkeypatch.context() as patch:
        blind(patch)
        train(images, watched, tmp_path / "whole", Budget(steps=STEPS))
        with pytest.raises(PreemptedError):
            train(images, watched, tmp_path / "run", Budget(steps=STEPS), console=StopAt(10))
    monkeypatch.setattr(evaluating, "judge", lambda readings, count: "level" if count >= 2 else None)
    train(images, watched, tmp_path / "run", Budget(steps=STEPS))
    assert_equal(tmp_path / "run", tmp_path / "whole")


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Pictures whose pixels are made to miss a fake, so that features are learned, in three steps."""
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(learned_features, "STEPS", 3)
    monkeypatch.setattr(picture_gauge, "missed_fakes", lambda d, s, e, p=None: ("means",) if e.name == "pixels" else ())
    path, rng = tmp_path / "shapes.npz", np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (260, 8, 8, 1), dtype=np.uint8), labels=np.arange(260) % 3)
    return str(path)


def test_features_are_learned_where_pixels_miss_a_fake_and_the_run_can_spare_it(
    tmp_path: Path, shapes: str, watched: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times the work of learning is the least budget that can spare a tenth for it."""
    monkeypatch.setattr(picture_gauge, "learning_work", lambda data: 1e6)
    watched = with_train(watched, preview_every=0)  # when early previews are made depends on the pace
    with_learning, cache = tmp_path / "whole", tmp_path / "cache"
    train(shapes, watched, with_learning, Budget(steps=STEPS))
    assert all("kid-learned" in line["metrics"] and "missed" not in line for line in found(with_learning).values())
    assert "measured by learned features" in (with_learning / "train.log").read_text()
    run = tmp_path / "run"
    with pytest.raises(PreemptedError):
        train(shapes, watched, run, Budget(steps=STEPS), console=StopAt(10))
    shutil.rmtree(cache)  # the choice does not depend on it, and the network comes out the same
    train(shapes, watched, run, Budget(steps=STEPS))
    assert_equal(run, with_learning)
    monkeypatch.setattr(picture_gauge, "learning_work", lambda data: 1e15)
    train(shapes, watched, tmp_path / "short", Budget(steps=STEPS))
    lines = found(tmp_path / "short").values()
    assert all("kid-pixels" in line["metrics"] and line["missed"] == ["means"] for line in lines)


def test_a_stop_while_features_are_learned_is_heard_and_the_run_goes_on_exactly(
    tmp_path: Path, shapes: str, watched: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_gauge, "learning_work", lambda data: 0.0)
    watched = with_train(watched, preview_every=0)
    train(shapes, watched, tmp_path / "whole", Budget(steps=STEPS))
    shutil.rmtree(tmp_path / "cache")
    run, learn, sent = tmp_path / "run", learned_features.train_network, []

    def stopped(network, data, poll=None):
        if not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
        learn(network, data, poll)

    monkeypatch.setattr(learned_features, "train_network", stopped)
    with pytest.raises(PreemptedError):
        train(shapes, watched, run, Budget(steps=STEPS))
    checkpoint = load_latest(run)
    assert checkpoint is not None and checkpoint.step == 4 and checkpoint.state["evaluations"]["pending"]
    train(shapes, watched, run, Budget(steps=STEPS))
    assert_equal(run, tmp_path / "whole")
