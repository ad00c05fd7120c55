"""Flags that people know from elsewhere are understood, or answered with what to write instead."""

import re
from pathlib import Path

import pytest

from gendi.cli import main
from gendi.cli.known_words import OTHERWISE, SAME, answer, translated
from gendi.cli.parse import flags, parse
from gendi.cli.sample import Sample
from gendi.cli.train import Train


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--resolution", "32"], "size", (32, 32)),
        (["--output-dir", "runs/x"], "out", "runs/x"),
        (["--output_dir=runs/x"], "out", "runs/x"),
        (["--train_batch_size", "8"], "batch_size", 8),
    ],
)
def test_training_understands(words: list[str], field: str, value: object) -> None:
    assert getattr(parse(Train, ["photos", *words], "gendi train"), field) == value


def test_a_learning_rate_goes_to_the_optimiser() -> None:
    assert parse(Train, ["photos", "--lr", "1e-4"], "gendi train").optim.lr == 1e-4


@pytest.mark.parametrize("flag", ["--cfg", "--cfg-scale", "--guidance-scale", "--guidance_scale"])
def test_sampling_understands_a_guidance_scale(flag: str) -> None:
    assert parse(Sample, ["run", flag, "2"], "gendi sample").wanted.guidance == "2"


def test_sampling_understands_counts_and_steps() -> None:
    command = parse(Sample, ["run", "--count", "5", "--num-inference-steps", "7"], "gendi sample")
    assert (command.n, command.steps) == (5, 7)


@pytest.mark.parametrize("flag", ["--epochs", "--num-epochs", "--num_train_epochs"])
def test_epochs_are_answered_with_the_budgets_there_are(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "photos", flag, "10"]) == 2
    said = capsys.readouterr().err
    assert "--images 60k" in said and "--max-time" in said and flag.replace("_", "-") in said


def test_a_word_that_a_command_has_itself_is_left_alone() -> None:
    assert translated(["--output", "x"], {"--output", "--out"}) == ["--output", "x"]
    assert translated(["--cfg", "2"], {"--size"}) == ["--cfg", "2"]
    assert answer("--epochs", [], {"--n"}) is None


def test_every_answer_names_flags_that_there_are() -> None:
    known = {f"--{name.removeprefix('wanted.')}" for kind in (Train, Sample) for name in flags(kind)}
    assert all(known & set(targets) for targets in SAME.values())
    words = {word for _, said in OTHERWISE.values() for word in re.findall(r"--[a-z.-]+[a-z]", said)}
    assert words - {"--nproc-per-node"} <= known
    assert {needed for needed, _ in OTHERWISE.values()} <= known


def test_a_class_may_have_the_name_of_such_a_flag(tmp_path: Path) -> None:
    assert parse(Sample, ["run", "--class", "cfg"], "gendi sample").wanted.class_ == "cfg"
