"""Below a refusal stands the user's own line with the mend: it keeps every other word, and is not refused again."""

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import TINY

from gendi.cli.commands import COMMANDS, kind_of, split
from gendi.cli.known_words import COMMANDS_ELSEWHERE
from gendi.cli.mending import mended_lines
from gendi.cli.parse import parse, values_of
from gendi.cli.train import Train, _defaults
from gendi.data import open_data
from gendi.errors import Mend, UsageError
from gendi.train.kept.bundle import load_bundle
from gendi.train.kept.status import read_status
from gendi.train.kept.stored import stored_config

Gendi = Callable[..., Any]


def suggested(said: str) -> list[list[str]]:
    """Return the words of the command lines below a refusal, without `gendi`."""
    lines = [shlex.split(line) for line in said.splitlines()[1:]]
    assert all(line[0] == "gendi" for line in lines)
    return [line[1:] for line in lines]


def read(words: list[str]) -> Any:
    """Return what the command line makes of words; raises `UsageError` where they are refused."""
    name, args = split(words)
    return parse(kind_of(name), args, f"gendi {name}")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("line", "mended"),
    [
        ("trian mnist --out 'my runs/x' --steps 5", "train mnist --out 'my runs/x' --steps 5"),
        ("train mnist --max-tim 8m --out=x --flip", "train mnist --max-time 8m --out=x --flip"),
        ("train mnist --max_tim=8m --ot x", "train mnist --max-time=8m --out x"),  # two slips in one line
        ("train mnist --chanels 64 128 --seed 3", "train mnist --network.channels 64 128 --seed 3"),
        ("train mnist --preset mnst --steps 3", "train mnist --preset mnist --steps 3"),
        ("train mnsit --steps 3 --out x", "train mnist --steps 3 --out x"),
        ("train mnist --max-time 8 --out x", "train mnist --out x --max-time 8m"),
        ("train mnist --max-time=90 --seed 8", "train mnist --seed 8 --max-time 90s"),
        ("train mnist --max-time '2 hours'", "train mnist --max-time 2h"),
        ("train-classifier mnist --run runs/x --max-time 3Min", "train-classifier mnist --run runs/x --max-time 3m"),
        ("train mnist --epochs 3 --out x", "train mnist --out x --images 180k"),
        ("train mnist --max-time 1m --epochs 3", "train mnist --max-time 1m"),
        ("train mnist --epochs 3 --max_train_steps=9", "train mnist --max_train_steps=9"),
        ("train --dataset mnist --steps 3", "train mnist --steps 3"),
        ("train mnist --resume --steps 3", "train mnist --steps 3"),
        ("train mnist --network.channels 60 --steps 3", "train mnist --network.channels 64 --steps 3"),
        ("sample runs/x --guidence 2 --class 'a b'", "sample runs/x --guidance 2 --class 'a b'"),
        ("sample runs/x --negative 3 --class 7", "sample runs/x --negative 3 --class 7 --guidance 2"),
        ("sample --again x.png --n 5 --seed 1 --out y.png", "sample --again x.png --out y.png"),
        ("generate runs/x --count 5", "sample runs/x --count 5"),
        ("data photos --size 32", "data check photos --size 32"),
        ("data chekc photos", "data check photos"),
        ("evaluate --samples x.npz --data mnist --steps 5 --seed 2", "evaluate --samples x.npz --data mnist --seed 2"),
        ("train mnist --preset MNIST --steps 3", "train mnist --preset mnist --steps 3"),
        ("ema runs/x --out y", "ema runs/x --out y --length 0.05 0.1"),
        ("sample runs/x --prompt cat --n 2", "sample runs/x --n 2"),
        ("train mnist --classes --steps 5", "train mnist --steps 5"),
        ("train mnist --classes A 'b c' --steps 5", "train mnist --steps 5"),
        ("train --steps 5 --classes A B mnist --out x", "train mnist --steps 5 --out x"),
        ("sample runs/x --class 1 2 3 --n 3 --out 'a b.png'", "sample runs/x --class 1,2,3 --n 3 --out 'a b.png'"),
        ("sample runs/x --label A B", "sample runs/x --class A,B"),
        ("train mnist --num-classes 10 --steps 5", "train mnist --steps 5"),
    ],
)
def test_a_refusal_shows_the_line_that_works(gendi: Gendi, line: str, mended: str) -> None:
    outcome = gendi(*shlex.split(line))
    assert outcome.code in (2, 3)
    assert suggested(outcome.err) == [shlex.split(mended)]
    read(shlex.split(mended))


def test_there_is_a_line_for_each_way(gendi: Gendi) -> None:
    said = gendi("train mnist --max-time 8m --images 2M --out x").err
    ways = ("train mnist --max-time 8m --out x", "train mnist --images 2M --out x")
    assert suggested(said) == [shlex.split(way) for way in ways]


@pytest.mark.parametrize(
    "line",
    [
        *("train mnist --max-tim soon", "train mnist --max-time 0", "train mnist --max-time 8x"),
        *("train mnist more", "--hlp", "zzz x"),
    ],
)
def test_no_line_is_shown_that_would_be_refused_too(gendi: Gendi, line: str) -> None:
    assert suggested(gendi(line).err) == []


def test_epochs_of_a_folder_are_counted_without_what_is_held_out(gendi: Gendi, tmp_path: Path) -> None:
    """Of 50 pictures 2 are held out, 5% rounded to even."""
    for i in range(50):
        name = tmp_path / "my photos" / "ab"[i % 2] / f"{i}.{('png', 'PNG', 'jpg')[i % 3]}"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 4 * i, np.uint8)).save(name)
    (tmp_path / "my photos" / "a" / "notes.txt").touch()
    assert len(open_data(tmp_path / "my photos").train) == 48
    said = gendi("train", "my photos", "--epochs", "40", "--out", "x").err
    assert "40 epochs of 48 training images are --images 1920;" in said
    assert suggested(said) == [["train", "my photos", "--out", "x", "--images", "1920"]]


def test_a_file_of_another_command_is_made_again_by_that_one(gendi: Gendi, tiny_run: Path) -> None:
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save("a.png")
    assert gendi(f"vary {tiny_run} a.png --n 1 --steps 2 --out b.png").code == 0
    said = gendi("sample --again b.png --out c.png --json").err
    assert suggested(said) == [["vary", "--again", "b.png", "--out", "c.png", "--json"]]
    assert gendi(*suggested(said)[0]).code == 0
    assert Path("c.png").is_file()


def test_another_configuration_is_offered_a_second_folder(gendi: Gendi, tiny_run: Path, tiny_data: Path) -> None:
    line = f"train {tiny_data} --preset mnist --steps 4 --out {tiny_run}"
    assert suggested(gendi(line).err) == [shlex.split(f"{line}-2")]
    status = read_status(tiny_run)
    assert status is not None and status["status"] == "finished" and "error" not in status  # the refusal left it


def test_another_size_is_answered_with_that_of_the_run(gendi: Gendi, tmp_path: Path) -> None:
    for i in range(12):
        Image.fromarray(np.full((12, 12), 20 * i, np.uint8)).save(tmp_path.joinpath(f"{i}.png"))
    data = tmp_path / "data"
    data.mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(data / path.name)
    small = [word for word in TINY if word not in ("--condition", "class")]
    assert gendi("train", "data", *small, "--steps", "1", "--size", "8", "--out", "r").code == 0
    lines = suggested(gendi("train", "data", *small, "--steps", "2", "--size", "12", "--out", "r").err)
    assert lines[0] == ["train", "data", *small, "--steps", "2", "--out", "r", "--size", "8x8"]
    assert gendi(*lines[0]).code == 0
    asked = gendi("sample r --n 2 --class 3 --guidance 2")  # of a model of pictures without classes
    assert "subfolders" in asked.err and suggested(asked.err) == [["sample", "r", "--n", "2"]]


def test_a_run_that_is_not_there_is_answered_with_the_nearest(gendi: Gendi, tiny_run: Path) -> None:
    said = gendi(f"sample {tiny_run}y --n 2 --out x.png").err
    assert suggested(said) == [["sample", str(tiny_run), *["--n", "2", "--out", "x.png"]]]


def test_a_run_without_snapshots_is_answered_with_its_own_command_and_snapshots(gendi: Gendi, tiny_run: Path) -> None:
    said = gendi(f"ema {tiny_run} --length 0.1 --out y").err
    words = shlex.split(said.partition("into another folder: ")[2])
    command, trained = parse(Train, words[2:], "gendi train", default=_defaults("mnist")), stored_config(tiny_run)
    assert (command.steps, command.out) == (4, f"{tiny_run}-ema")
    assert command.optim == replace(trained.optim, posthoc_every=50_000)
    assert (command.network, command.process, command.objective) == (
        trained.network,
        trained.process,
        trained.objective,
    )


@pytest.mark.parametrize(
    ("budget", "twice"),
    [
        (["--steps", "2"], ["--steps", "4"]),
        (["--num-steps=2"], ["--steps", "4"]),
        (["--images", "8"], ["--images", "16"]),
        (["--max-time", "1s"], ["--max-time", "2s"]),
    ],
)
def test_the_end_of_a_run_offers_its_own_command_with_twice_the_budget(
    gendi: Gendi, tiny_data: Path, budget: list[str], twice: list[str]
) -> None:
    shared = ["train", str(tiny_data), *TINY, "--out", "r"]
    outcome = gendi(*shared, *budget)
    [more] = [line for line in outcome.err.splitlines() if "twice the budget" in line]
    words = shlex.split(more.partition("    continues")[0])
    assert words == ["gendi", *shared, *twice]
    if budget[0] == "--steps":
        assert gendi(*words[1:]).code == 0
        assert load_bundle("r").meta["step"] == 4


def test_where_no_run_is_named_it_is_the_newest(gendi: Gendi) -> None:
    for age, name in ((30, "old"), (10, "new"), (20, "other")):
        config = Path("runs") / name / "config.toml"
        config.parent.mkdir(parents=True)
        config.touch()
        os.utime(config, (1e9 - age, 1e9 - age))
    for line in ("sample --n 5", "report", "evaluate --n 9", "info --json"):
        command, *rest = line.split()
        assert suggested(gendi(line).err) == [[command, str(Path("runs/new")), *rest]]


def test_data_are_taken_for_their_run_and_the_other_way_round(gendi: Gendi, tiny_run: Path) -> None:
    Path("runs").mkdir()
    Path("runs/letters").symlink_to(tiny_run)
    Path("letters").mkdir()
    assert suggested(gendi("sample letters --n 5").err) == [["sample", "runs/letters", "--n", "5"]]
    assert suggested(gendi("train leters --steps 5").err) == [["train", "letters", "--steps", "5"]]


def test_every_command_known_elsewhere_has_one_here() -> None:
    assert set(COMMANDS_ELSEWHERE.values()) <= set(COMMANDS)
    assert not set(COMMANDS_ELSEWHERE) & set(COMMANDS)


@pytest.mark.parametrize(
    ("command", "flag", "many"),
    [
        ("train", "--flip", 0),
        ("train", "--out", 1),
        ("train", "--optim.lr", 1),
        ("sample", "--class", 1),
        ("train", "--x", None),
    ],
)
def test_how_many_values_a_flag_has(command: str, flag: str, many: int | None) -> None:
    assert values_of(kind_of(command), flag) == many


def test_a_list_may_have_any_number_of_values() -> None:
    found = values_of(Train, "--network.channels")
    assert found is not None and found > 8


def test_words_that_move_the_cursor_are_not_repeated() -> None:
    error = UsageError("x").mended_by(Mend(put={"--a": "--out"}))
    assert mended_lines(["train", "mnist", "--a", "\x1b[2J"], error, "gendi") == []
    assert mended_lines(["train", "mnist", "--a", "z"], error, "gendi") == ["gendi train mnist --out z"]


@pytest.mark.parametrize("channels", [("64", "128"), ("64",)])
def test_attention_follows_the_channels_to_the_coarsest_level(
    gendi: Gendi, channels: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        Image.fromarray(np.full((8, 8, 3), (9 * i, 0, 200), np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    shared = ["--network.blocks", "1", "--batch-size", "2", "--steps", "1", "--out", "r", "--train.precision", "fp32"]
    words = ["train", "pictures", "--preset", "icons", "--network.channels", *channels, *shared]
    outcome = gendi(*words, "--train.layout", "contiguous", "--train.workers", "1")
    assert outcome.code == 0
    level = len(channels) - 1
    assert f"it is {level} now" in outcome.err
    assert stored_config(tmp_path / "r").network.attention == (level,)
    refused = gendi(*words, "--network.attention", "2")
    assert f"--network.attention {level} would do" in refused.err
    assert suggested(refused.err)[0][-2:] == ["--network.attention", str(level)]


def test_a_run_that_is_in_use_is_answered_with_a_folder_beside_it(gendi: Gendi, tiny_data: Path) -> None:
    from gendi.storage.lock import RunLock

    words = ("train", str(tiny_data), *TINY, "--steps", "2", "--out", "taken")
    Path("taken-2").mkdir()
    with RunLock(Path("taken")):
        outcome = gendi(*words)
    assert outcome.code == 2 and f"in use by pid {os.getpid()}" in outcome.err
    assert suggested(outcome.err) == [["train", str(tiny_data), *TINY, "--steps", "2", "--out", "taken-3"]]


@pytest.mark.parametrize(("given", "first"), [("8", "auto"), ("auto", "")])
def test_too_little_memory_is_answered_with_smaller_batches(
    gendi: Gendi, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, given: str, first: str
) -> None:
    """In parts first, then half of the batch; where a single row does not fit, no other batch would."""
    from gendi.diffusion.gaussian.objectives.simple import Simple

    def none_left(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Simple, "losses", none_left)
    tiny = [word for i, word in enumerate(TINY) if "--batch-size" not in (word, TINY[i - 1])]
    outcome = gendi("train", str(tiny_data), *tiny, "--steps", "2", "--out", "x", "--batch-size", given)
    assert outcome.code == 5 and "Out of memory" in outcome.err
    rest = ["train", str(tiny_data), *tiny, "--steps", "2", "--out", "x", "--batch-size"]
    assert suggested(outcome.err[outcome.err.index("gendi: Out of memory") :]) == (
        [[*rest, first], [*rest, "4"]] if first else []
    )
