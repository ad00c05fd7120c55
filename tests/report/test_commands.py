import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import TINY

from gendi.cli.parse import parse
from gendi.cli.train import Train
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig
from gendi.report.commands import commands, wrapped
from gendi.report.run import Run
from gendi.train.config import RunConfig
from gendi.train.kept.as_flags import budget_flags
from gendi.train.presets import PRESETS


def parsed(line: list[str]) -> Train:
    words = shlex.split(" ".join(line))
    assert words[:2] == ["gendi", "train"]
    preset = words[words.index("--preset") + 1]
    default = Train(data="?", **vars(PRESETS[preset].config) | {"preset": preset})
    return parse(Train, words[2:], "gendi train", "", default=default)


def asked(config: RunConfig) -> RunConfig:
    """Return a configuration without what its data said of the conditions.

    `--condition none` stands for no condition where the data have none of that name.
    """
    named = (c for c in config.conditions if c.required or c.name != "none")
    return replace(config, conditions=tuple(ConditionConfig(c.name, dropout=c.dropout) for c in named))


TOLD = (
    ConditionConfig("class", size=2, names=("a", "b"), dropout=0.2),
    ConditionConfig("low-res:4", "image", 3, 0.3, "channels"),
)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, conditions=()),
        replace(TINY, conditions=TOLD),
        replace(TINY, conditions=(ConditionConfig("class", dropout=0.3),)),
        replace(TINY, train=replace(TINY.train, flip=True, crop=1.25)),
        *(preset.config for preset in PRESETS.values()),
        replace(TINY, process=ProcessConfig("linear", 250), objective=ObjectiveConfig(precondition=False)),
        replace(TINY, network=replace(TINY.network, channels=(16, 32, 32), attention=(1, 2), dropout=0.1)),
    ],
)
def test_the_command_line_read_back_is_the_run(config: RunConfig, tmp_path: Path) -> None:
    folder = tmp_path / "a run; rm -rf $HOME"
    settings = {"data": {"spec": "it's data", "size": [32, 48]}, "budget": {"seconds": 480.0}}
    run = Run(folder, settings, config)
    train, *_, report = commands(run)
    command = parsed(train)
    assert asked(command.config()) == asked(config)
    assert (command.data, command.folder(), command.size) == ("it's data", folder, (32, 48))
    assert command.limits() == {"seconds": 480.0}
    assert shlex.split(" ".join(report)) == ["gendi", "report", str(folder)]


@pytest.mark.parametrize(
    ("budget", "flags"),
    [
        ({"seconds": 480.0}, ["--max-time", "8m"]),
        ({"seconds": 90}, ["--max-time", "90s"]),
        ({"images": 2_000_000}, ["--images", "2000000"]),
        ({"steps": 7}, ["--steps", "7"]),
        ({}, []),
    ],
)
def test_budgets_are_flags(budget: dict[str, float], flags: list[str]) -> None:
    assert budget_flags(budget) == flags


def test_wrapped_lines_are_the_same_command() -> None:
    words = ["gendi", "train", "'a --folder with a long name'", "--preset", "mnist"]
    words += [word for i in range(20) for word in (f"--group.flag-{i}", "3")]
    text = wrapped(words)
    assert len(text.splitlines()) > 3
    assert max(map(len, text.splitlines())) <= 84
    assert all(line.lstrip().startswith(("gendi", "--")) for line in text.splitlines())
    assert " ".join(text.replace("\\\n", "").split()) == " ".join(words)
