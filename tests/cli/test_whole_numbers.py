"""Whole numbers of the configuration, as flags: written out, or as --images takes them."""

import pytest

from gendi.cli.parse import parse
from gendi.cli.train import Train
from gendi.errors import UsageError


def read(*words: str) -> Train:
    return parse(Train, ["mnist", *words], "gendi train")


@pytest.mark.parametrize(
    ("text", "value"), [("50k", 50_000), ("2M", 2_000_000), ("1.5k", 1500), ("1_000", 1000), ("0", 0), ("-1", -1)]
)
def test_counts(text: str, value: int) -> None:
    command = read("--optim.posthoc-every", text, "--train.preview-every", text, "--process.steps", text)
    assert (command.optim.posthoc_every, command.train.preview_every, command.process.steps) == (value,) * 3


def test_lists_and_none() -> None:
    command = read("--network.channels", "64", "1k", "--process.steps", "none")
    assert (command.network.channels, command.process.steps) == ((64, 1000), None)


@pytest.mark.parametrize("text", ["", "k", "50x", "50K", "1.00005k", "1.5", "-2k", "1e3"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"train\.preview-every: .* is no whole number: write it like 128, 50k or 2M"):
        read(f"--train.preview-every={text}")
