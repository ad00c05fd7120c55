"""Students as runs: what they take from their teacher, that they go on exactly and alone, and what is refused."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gendi
from gendi.api.distil import refuse_others, run_student
from gendi.api.perturbation.model import Perturbation
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import DistilConfig, ObjectiveConfig, ProcessConfig, SampleConfig
from gendi.diffusion.gaussian.flow_map.angle import Place
from gendi.diffusion.gaussian.flow_map.network import FlowMapDenoiser
from gendi.errors import PreemptedError, UsageError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.checkpoint import load_latest
from gendi.train.kept.distil import Wish, student_config, usual_folder
from gendi.train.presets import get_preset
from gendi.train.progress.telling import Silent
from gendi.train.run.loop import train
from stop_at import StopAt

STEPS = 6


@pytest.fixture
def teacher(tmp_path: Path, images: str, tiny: RunConfig) -> Path:
    """A finished run on 40 pictures, which is guided where nothing is said."""
    own = (ConditionConfig("class", dropout=0.3),)
    config = dataclasses.replace(tiny, conditions=own, sample=SampleConfig(guidance=2.0))
    train(images, config, tmp_path / "teacher", Budget(steps=3))
    return tmp_path / "teacher"


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize(
    ("method", "sampler"),
    [("ect", "consistency"), ("progressive", "ddim"), ("mean-flow", "flow-map"), ("dmd", "consistency")],
)
def test_a_student_samples_by_itself_in_the_calls_it_was_made_for(teacher: Path, method: str, sampler: str) -> None:
    before = load_bundle(teacher)
    student = gendi.distil(teacher, method=method, calls=2, steps=2, quiet=True)
    config = student.config
    assert (config.sample.sampler, config.sample.steps, config.sample.guidance) == (sampler, 2, 1.0)
    assert config.objective.distil.guidance == 2.0  # the teacher's own, built in
    assert config.network == before.config.network and config.process == before.config.process
    assert student.class_names == before.class_names and student.sigma_data == before.sigma_data
    assert student.meta["start"]["from"] == str(teacher)
    shutil.rmtree(teacher)
    calls: list[None] = []
    found = gendi.sample(teacher.with_name("teacher-student"), n=3, poll=lambda: calls.append(None))
    assert found.shape == (3, 10, 9, 3)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("method", "ends"),
    [("ect", None), ("progressive", None), ("mean-flow", None), ("mean-flow", (1.0, 3.0)), ("dmd", None)],
)
def test_interrupted_is_uninterrupted(
    teacher: Path, tmp_path: Path, method: str, ends: tuple[float, float] | None
) -> None:
    """To the bit, with the teacher gone: its weights are in the checkpoint. The stop is within a stage after the first.

    Progressive: 6 stages in 6 steps, so every step has another teacher.
    """
    wish, one, two = Wish(method, calls=1, guidance_range=ends), tmp_path / "one", tmp_path / "two"
    run_student(teacher, wish, one, Budget(steps=STEPS), Silent())
    with pytest.raises(PreemptedError):
        run_student(teacher, wish, two, Budget(steps=STEPS), StopAt(4))
    spec = load_bundle(teacher).meta["data_spec"]
    teacher.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"the teacher of .*two, no longer exists. .* name the data"):
        run_student(teacher, wish, two, Budget(steps=STEPS), Silent())
    run_student(teacher, wish, two, Budget(steps=STEPS), Silent(), spec)
    whole, again = load_latest(one), load_latest(two)
    assert whole is not None and again is not None and whole.tensors.keys() == again.tensors.keys()
    assert "teacher" in whole.tensors
    for group in whole.tensors:
        assert same(whole.tensors[group], again.tensors[group]), group
    assert (one / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()


def test_the_same_call_again_goes_on_and_other_wishes_are_refused(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    gendi.distil(teacher, out=out, steps=1, quiet=True)
    assert gendi.distil(teacher, out=out, steps=2, quiet=True).meta["step"] == 2
    with pytest.raises(UsageError, match=r"holds a run with another configuration: .*guidance was 2.0, is 1.0"):
        gendi.distil(teacher, out=out, steps=3, guidance=1.0, quiet=True)
    with pytest.raises(
        UsageError, match=r"another configuration: .*loss was 'distribution-matching', is 'progressive'"
    ):
        gendi.distil(teacher, out=out, steps=3, method="progressive", quiet=True)


def test_without_guidance_no_teacher_is_kept(teacher: Path, tmp_path: Path) -> None:
    gendi.distil(load_bundle(teacher), out=tmp_path / "plain", method="ect", guidance=1.0, steps=1, quiet=True)
    found = load_latest(tmp_path / "plain")
    assert found is not None and "teacher" not in found.tensors


@pytest.mark.parametrize("method", ["ect", "mean-flow"])
def test_the_first_student_is_its_teacher(teacher: Path, tmp_path: Path, method: str) -> None:
    """With a learning rate of almost nothing the averaged weights are the teacher's; what it is told says nothing."""
    student, before = (
        gendi.distil(teacher, out=tmp_path / "s", method=method, lr=1e-12, steps=1, quiet=True),
        load_bundle(teacher),
    )
    for name, tensor in before.state.items():
        torch.testing.assert_close(student.state[name], tensor, rtol=0, atol=1e-7)
    x, t = torch.randn(3, 3, 10, 9, generator=torch.Generator().manual_seed(1)), torch.tensor([0.2, 0.5, 0.8])
    cond = {"class": torch.tensor([0, 2, -1])}
    plain = before.denoiser()(x, t, **cond)
    torch.testing.assert_close(student.denoiser()(x, t, **cond), plain, rtol=0, atol=1e-4)
    if method == "mean-flow":  # every way begins as the teacher's velocity
        denoiser = student.denoiser()
        assert isinstance(denoiser, FlowMapDenoiser)
        place = Place.of(denoiser.schedule, t.double())
        cos, sin = (value.float()[:, None, None, None] for value in (place.theta.cos(), place.theta.sin()))
        for to in (place.theta, place.theta / 2, 0 * place.theta):
            u = denoiser.velocity(x, place, to, **cond)
            torch.testing.assert_close(u, (cos * x - plain) / sin, rtol=0, atol=1e-3)


def test_the_configuration_of_a_student(tiny: RunConfig) -> None:
    config = student_config(tiny, Wish("ect", calls=3))
    assert config.objective.loss == "consistency"
    assert config.objective.distil == DistilConfig(stages=8, calls=3, guidance=1.0)
    assert config.optim.lr == pytest.approx(tiny.optim.lr / 3)
    assert config.train.seed == tiny.train.seed and student_config(tiny, Wish(seed=7)).train.seed == 7
    for calls, stages in ((1, 6), (2, 5), (3, 4), (40, 1)):
        assert student_config(tiny, Wish("progressive", calls)).objective.distil.stages == stages
    chain = dataclasses.replace(tiny, process=ProcessConfig("cosine", 20))
    assert student_config(chain, Wish("progressive", 3)).objective.distil.stages == 2  # 3 x 4 of at most 20 steps


def test_the_method_follows_the_kind_of_data(tiny: RunConfig) -> None:
    assert student_config(tiny, Wish()).objective.loss == "distribution-matching"
    for preset in ("table", "cells"):
        assert student_config(get_preset(preset).config, Wish()).objective.loss == "consistency"


def changed(config: RunConfig, **objective: Any) -> RunConfig:
    return dataclasses.replace(config, objective=dataclasses.replace(config.objective, **objective))


def test_teachers_that_can_have_no_student(tiny: RunConfig) -> None:
    plain = dataclasses.replace(tiny, objective=ObjectiveConfig(prediction="eps"), conditions=())
    with pytest.raises(UsageError, match=r"runs/a predicts eps. The first of a few calls is made on noise alone"):
        student_config(plain, Wish(), "runs/a")
    with pytest.raises(UsageError, match="predicts x0"):
        student_config(changed(plain, prediction="x0"), Wish("ect"))
    student_config(changed(plain, prediction="x0"), Wish("progressive"))
    student_config(changed(plain, prediction="v"), Wish("ect"))
    with pytest.raises(UsageError, match="learned its noise schedule"):
        student_config(dataclasses.replace(tiny, process=ProcessConfig("learned", None)), Wish())
    with pytest.raises(UsageError, match="a second output, for the variance"):
        student_config(changed(tiny, variance="learned"), Wish())
    with pytest.raises(UsageError, match="is a student itself"):
        student_config(student_config(tiny, Wish()), Wish())
    with pytest.raises(UsageError, match="guidance = 3: .* cannot be guided"):
        student_config(dataclasses.replace(tiny, conditions=()), Wish(guidance=3.0))
    assert student_config(tiny, Wish("mean-flow", derivative="forward")).objective.distil.derivative == "forward"
    with pytest.raises(UsageError, match="derivative = 'forward' is for the method mean-flow"):
        student_config(tiny, Wish(derivative="forward"))
    with pytest.raises(UsageError, match="the method 'magic' is unknown"):
        student_config(tiny, Wish("magic"))
    for calls in (0, -1, 65):
        with pytest.raises(UsageError, match=rf"calls = {calls} is out of range: .* 1 to 64"):
            student_config(tiny, Wish(calls=calls))
    chain = dataclasses.replace(tiny, process=ProcessConfig("cosine", 20))
    with pytest.raises(UsageError, match=r"1 to 10 calls per sample, as the chain of its teacher has 20 steps"):
        student_config(chain, Wish("progressive", 11))


def test_data_of_another_kind_and_models_that_are_no_denoisers(teacher: Path, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("age,class\n" + "\n".join(f"{20 + k},{'ab'[k % 2]}" for k in range(60)))
    with pytest.raises(UsageError, match="is a model of the kind image, and people is data of the kind table"):
        gendi.distil(teacher, data=str(table), steps=1, quiet=True)
    saved = tmp_path / "transport.json"
    saved.write_text("{}")
    with pytest.raises(UsageError, match=r"transport.json is a file, and a teacher is the folder"):
        gendi.distil(saved, steps=1, quiet=True)
    for other in (torch.nn.Linear(1, 1), object.__new__(Perturbation)):
        with pytest.raises(UsageError, match=f"a {type(other).__name__} is no teacher, .* the transport of perturbed"):
            refuse_others(other)  # annotations are checked in tests, and refuse it before gendi.distil does
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "config.json").write_text('{"kind": "noise-aware classifier"}')
    with pytest.raises(UsageError, match="is a classifier of noisy pictures, which can guide a teacher"):
        gendi.distil(tmp_path / "names", steps=1, quiet=True)
    with pytest.raises(UsageError, match="There is no folder"):
        gendi.distil(tmp_path / "nowhere", steps=1, quiet=True)
    bundle = load_bundle(teacher)
    with pytest.raises(UsageError, match="out is missing"):
        gendi.distil(bundle, steps=1, quiet=True)
    unknown = Bundle(bundle.config, bundle.codec, bundle.state, bundle.sigma_data, {})
    with pytest.raises(UsageError, match="does not say what it was trained on"):
        gendi.distil(unknown, out=tmp_path / "s", steps=1, quiet=True)
    assert not (tmp_path / "s").exists()


def test_data_in_memory_are_given_again(teacher: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pictures = rng.integers(0, 256, (30, 10, 9, 3), dtype=np.uint8)
    path = tmp_path / "more.npz"
    np.savez(path, images=pictures, labels=np.arange(30) % 3)
    assert gendi.distil(teacher, out=tmp_path / "s", data=str(path), steps=1, quiet=True).meta["step"] == 1


def test_what_a_student_cannot_do(teacher: Path, tmp_path: Path) -> None:
    student = gendi.distil(teacher, out=tmp_path / "s", method="progressive", calls=2, steps=1, quiet=True)
    for calls in (1, 3):
        with pytest.raises(UsageError, match=f"steps = {calls}: this model is a progressive student of 2 calls"):
            gendi.sample(student, n=1, steps=calls)
    with pytest.raises(UsageError, match="sampling needs at least 1 step; got 0"):
        gendi.sample(student, n=1, steps=0)
    with pytest.raises(UsageError, match=r"is a student: .* Ask its teacher: .*teacher"):
        gendi.bits_per_dim(student, n=1)


def test_a_student_of_average_velocities_is_a_denoiser_too(teacher: Path, tmp_path: Path) -> None:
    """It draws in any number of calls, by any sampler, and has a likelihood and, if need be, guidance."""
    student = gendi.distil(teacher, out=tmp_path / "s", method="mean-flow", guidance=1.0, steps=1, quiet=True)
    for steps, sampler in ((1, None), (5, None), (4, "dpmpp-2m"), (2, "consistency")):
        assert gendi.sample(student, n=2, steps=steps, sampler=sampler).shape == (2, 10, 9, 3)
    assert gendi.sample(student, n=2, steps=4, sampler="deis", guidance=2.0).shape == (2, 10, 9, 3)
    assert bool(gendi.bits_per_dim(student, n=2, method="elbo", steps=3).values.isfinite().all())
    with pytest.raises(UsageError, match="is guided, which a flow map has built in"):
        gendi.sample(student, n=1, guidance=2.0)
    guided = gendi.distil(teacher, out=tmp_path / "g", method="mean-flow", steps=1, quiet=True)
    with pytest.raises(UsageError, match=r"it learned guided velocities, .* Ask its teacher: .*teacher"):
        gendi.bits_per_dim(guided, n=1)


def test_average_velocities_from_new_weights(images: str, tiny: RunConfig, tmp_path: Path) -> None:
    """Without a teacher, by the objective's name alone: the run draws with the samplers that it would have anyway."""
    config = changed(tiny, loss="mean-flow")
    train(images, config, tmp_path / "run", Budget(steps=2))
    found = load_latest(tmp_path / "run")
    assert found is not None and "teacher" not in found.tensors
    own = gendi.load(tmp_path / "run")
    for settings in ({}, {"sampler": "flow-map", "steps": 1}):
        assert gendi.sample(own, n=2, **settings).shape == (2, 10, 9, 3)
    again = gendi.load(tmp_path / "run" / "bundle")  # a round trip of the bundle
    assert same(again.state, own.state) and isinstance(again.denoiser(), FlowMapDenoiser)
    bytes_ = dataclasses.replace(config.network, output="bytes")
    with pytest.raises(UsageError, match="can only say the mean of a byte"):
        dataclasses.replace(changed(config, precondition=False), network=bytes_).validate()
    for name in ("compile", "shard"):
        with pytest.raises(UsageError, match=f"which train.{name} hinders"):
            dataclasses.replace(config, train=dataclasses.replace(config.train, **{name: True})).validate()


@pytest.mark.parametrize("method", ["ect", "mean-flow", "dmd"])
def test_a_student_is_told_the_scale_of_guidance(teacher: Path, tmp_path: Path, method: str) -> None:
    """One call a step at any scale of its range; at first the scale says nothing, and after training it does."""
    out, how = tmp_path / "s", {"method": method, "guidance_range": (1, 4), "quiet": True}
    first = gendi.distil(teacher, out=out, lr=1e-12, steps=1, **how)
    assert first.config.sample.guidance == 2.0  # the teacher's own
    same_noise = [gendi.sample(first, n=3, guidance=scale) for scale in (1.0, 4.0)]
    assert np.abs(same_noise[0].astype(int) - same_noise[1]).max() <= 1
    student = gendi.distil(
        teacher, out=out, method=method, guidance_range=(1, 4), lr=3e-2, steps=12, fresh=True, quiet=True
    )
    calls: list[None] = []
    drawn = [gendi.sample(student, n=3, guidance=w, poll=lambda: calls.append(None)) for w in (1.0, 2.0, 4.0)]
    assert len(calls) == 3 * 2
    assert not np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(gendi.sample(student, n=3), drawn[1])
    for wrong in (0.5, 5.0, gendi.Guidance(lambda t: 2.0)):
        with pytest.raises(UsageError, match="is out of range: this student learned the scales from 1 to 4"):
            gendi.sample(student, n=1, guidance=wrong)
    with pytest.raises(UsageError, match="is told the scale of guidance, and is called once a step"):
        gendi.sample(student, n=1, guidance=gendi.Guidance(2.0, interval=(0.1, 1.0)))


def test_ranges_of_guidance_that_cannot_be(teacher: Path, tiny: RunConfig) -> None:
    config = load_bundle(teacher).config
    student_config(config, Wish("ect", guidance_range=(0.0, 2.0)))
    assert student_config(config, Wish("mean-flow", guidance_range=(2.5, 4.0))).sample.guidance == 2.5
    for ends in ((2.0, 2.0), (3.0, 1.0), (-1.0, 2.0)):
        with pytest.raises(UsageError, match="must be two scales between 0 and 100, the lower one first"):
            student_config(config, Wish("ect", guidance_range=ends))
    with pytest.raises(UsageError, match="and not for 'progressive': give it one scale instead"):
        student_config(config, Wish("progressive", guidance_range=(1.0, 2.0)))
    with pytest.raises(UsageError, match="Give one of --guidance and --guidance-range"):
        student_config(config, Wish("ect", guidance=2.0, guidance_range=(1.0, 2.0)))
    with pytest.raises(UsageError, match=r"guidance = 1 to 3: .* cannot be guided, .* Leave --guidance-range out"):
        student_config(dataclasses.replace(tiny, conditions=()), Wish("ect", guidance_range=(1.0, 3.0)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [("runs/a", "runs/a-student"), ("runs/a/", "runs/a-student"), ("a/bundle", "a/bundle-student")],
)
def test_the_usual_folder(given: str, expected: str) -> None:
    assert usual_folder(given) == Path(expected)


def test_the_usual_folder_of_a_runs_bundle(teacher: Path) -> None:
    assert usual_folder(teacher / "bundle") == teacher.with_name("teacher-student")
