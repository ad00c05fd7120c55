"""An objective of somebody else's: by its name in the configuration, with a memory of its own that checkpoints hold."""

import dataclasses
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from students import Adams
from torch import Tensor

from gendi.cli import main
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import DistilConfig, ObjectiveConfig, Parameterisation, ProcessConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.objectives import (
    OBJECTIVES,
    TIME_SAMPLINGS,
    WEIGHTINGS,
    Answer,
    Draw,
    NoisingObjective,
    ObjectiveInfo,
    Setting,
)
from gendi.diffusion.gaussian.objectives.registry import validate
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import BundleError, PreemptedError, UsageError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.run.loop import train
from stop_at import StopAt


class Tempered(NoisingObjective):
    """|F - F*| in units of a running mean of it: what the next step is divided by is what the steps before were."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.scale = torch.ones((), dtype=torch.float64)

    def of(self, answer: Answer) -> Tensor:
        return answer.error.abs().flatten(1).mean(1) / self.scale.to(answer.error)

    def remember(self, draw: Draw, losses: Tensor, lr: float) -> None:
        super().remember(draw, losses, lr)
        self.scale = 0.5 * self.scale + 0.5 * self.scale * losses.double().mean().cpu()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        return super().tensors() | {"tempered": {"scale": self.scale.clone()}}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        super().restore(groups)
        if "scale" not in groups.get("tempered", {}):
            raise BundleError("The checkpoint's tempered loss needs 'scale'.")
        self.scale = groups["tempered"]["scale"].clone()


def no_x0(options: ObjectiveConfig, process: ProcessConfig) -> None:
    if options.prediction == "x0":
        raise UsageError("objective.loss = 'tempered' is not for x0.")


@pytest.fixture
def tempered() -> Iterator[str]:
    OBJECTIVES.register("tempered", ObjectiveInfo(Tempered, "an absolute error", check=no_x0))
    yield "tempered"
    OBJECTIVES.remove("tempered")


def test_its_memory_goes_through_checkpoints_to_the_bit(
    tempered: str, images: str, tiny: RunConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny, objective=dataclasses.replace(tiny.objective, loss=tempered))
    train(images, config, tmp_path / "whole", Budget(steps=9))
    with pytest.raises(PreemptedError):
        train(images, config, tmp_path / "parts", Budget(steps=9), console=StopAt(4, signal.SIGTERM))
    train(images, config, tmp_path / "parts", Budget(steps=9))
    one, two = load_latest(tmp_path / "whole"), load_latest(tmp_path / "parts")
    assert one is not None and two is not None
    assert one.tensors.keys() == two.tensors.keys() == {"model", "ema", "optimizer", "tempered"}
    for group, tensors in one.tensors.items():
        assert all(torch.equal(value, two.tensors[group][name]) for name, value in tensors.items()), group
    assert 0 < float(one.tensors["tempered"]["scale"]) < 1
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "parts" / "metrics.jsonl").read_bytes()


def test_the_command_line_takes_its_name_and_its_rules(
    tempered: str, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", images, "--steps", "1", "--batch-size", "4", "--network.channels", "8", "--out"]
    words += [str(tmp_path / "run"), "--objective.loss", tempered, "--train.precision", "fp32", "--dry-run"]
    assert main(words) == 0
    assert main([*words, "--objective.no-precondition", "--objective.prediction", "x0"]) == 2
    assert "is not for x0" in capsys.readouterr().err
    assert main([*words, "--objective.variance", "learned"]) == 2
    assert "nothing would train the variance. Use objective.loss = 'hybrid' or 'vlb'." in capsys.readouterr().err


def test_a_name_that_nobody_knows_is_refused_with_those_there_are(tempered: str) -> None:
    known = "'consistency', 'progressive', 'mean-flow', 'distribution-matching', 'tempered'"
    with pytest.raises(UsageError, match=f"Known: 'simple', 'vlb', 'hybrid', {known}"):
        RunConfig.from_dict({"objective": {"loss": "tempred"}})
    with pytest.raises(UsageError, match="objective.weighting = 'edn' is unknown. Known: 'simple', 'min-snr', 'edm'"):
        RunConfig.from_dict({"objective": {"weighting": "edn"}})
    with pytest.raises(UsageError, match="objective.time_sampling = 'x' is unknown. Known: 'discrete', 'uniform'"):
        RunConfig.from_dict({"objective": {"time_sampling": "x"}})


def test_every_built_in_name_can_be_loaded() -> None:
    for registry in (OBJECTIVES, WEIGHTINGS, TIME_SAMPLINGS):
        assert all(registry[name] is not None for name in registry.built_in)

    def teacher(schedule: Schedule) -> NetworkDenoiser:
        return NetworkDenoiser(torch.nn.Linear(1, 1), schedule, Parameterisation())

    def learner(schedule: Schedule, told: tuple[ConditionConfig, ...]) -> Adams:
        return Adams(teacher(schedule))

    for name in OBJECTIVES.built_in:
        chain = OBJECTIVES[name].chain
        options = ObjectiveConfig(
            loss=name,
            variance=OBJECTIVES[name].variance[0],  # type: ignore[arg-type]
            time_sampling="discrete" if chain else "uniform",
            distil=DistilConfig(stages=2),
        )
        process = ProcessConfig("linear", 10)
        validate(options, process)
        objective = OBJECTIVES[name].build(Setting(options, process, teacher=teacher, learner=learner))
        stateless = name not in ("progressive", "distribution-matching")
        assert (objective.tensors() == {}) == stateless and objective.learned_table() is None
        draw = objective.draw(4, 0, 3)
        assert torch.equal(draw.t, objective.draw(4, 0, 3).t) and objective.weights(draw) is None
