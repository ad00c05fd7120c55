"""The sentence in the box that tyro draws: these fail when tyro draws another."""

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import tyro

from gendi.cli.parse import named, parse
from gendi.cli.refusals import UNKNOWN, first_section, refusal
from gendi.errors import UsageError

LONG = "a long word " * 40


@dataclass(frozen=True)
class Command:
    """A command."""

    what: Annotated[tyro.conf.Positional[str], named("WHAT")]
    """What to do."""
    number: int = 1
    """How often."""
    side: Literal["left", "right"] = "left"
    """Which side."""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "WHAT is missing: What to do."),
        (["x", "--number"], "Missing value for argument '--number'. Expected 1 values."),
        (["x", "--side", "up"], "invalid choice 'up' for argument '--side'. Expected one of ('left', 'right')."),
        (["x", "--number", LONG], f"--number: {LONG!r} is no whole number: write it like 128, 50k or 2M."),
    ],
)
def test_a_refusal_is_one_sentence(args: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Command, args, "gendi command")
    assert str(caught.value) == f"{said} See gendi command --help."


@dataclass(frozen=True)
class Pair:
    """A command with three arguments."""

    one: Annotated[tyro.conf.Positional[str], named("ONE")]
    """The first."""
    other: Annotated[tyro.conf.Positional[str], named("OTHER")]
    """The second one."""
    mask: str
    """What is kept."""


def test_several_that_are_missing_are_named_apart() -> None:
    with pytest.raises(
        UsageError, match=re.escape("OTHER and --mask are missing. OTHER: The second one. --mask: What")
    ):
        parse(Pair, ["x"], "gendi pair")
    with pytest.raises(UsageError, match="^ONE, OTHER and --mask are missing. ONE: The first. OTHER"):
        parse(Pair, [], "gendi pair")


def test_the_box_is_as_expected() -> None:
    """A frame, a title in it, and a rule before the help of the argument."""

    def read() -> Any:
        return tyro.cli(Command, args=["x", "--number", "many"], prog="p")

    box = io.StringIO()
    with pytest.raises(SystemExit), redirect_stderr(box), redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")):
        read()
    lines = box.getvalue().splitlines()
    assert lines[0].startswith("╭─ ")
    assert lines[-1].startswith("╰─")
    assert any(set(line.strip("│ ")) == {"─"} for line in lines)
    assert refusal(read) == first_section(box.getvalue())
    assert refusal(lambda: None) == UNKNOWN
