"""Help: at once, examples first, and the examples are true."""

import ast
import importlib
import inspect
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gendi
from gendi.cli import COMMANDS, HELP, edits, module_of

HEAVY = ("torch", "numpy", "matplotlib", "PIL", "scipy")


def _module(command: str) -> Any:
    return importlib.import_module(module_of(command))


def _loaded_after(*lines: str) -> set[str]:
    """Run command lines in one fresh process and return which of some modules it has loaded."""
    code = f"""
import contextlib, io, json, sys
from gendi.cli import main
for line in {lines!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(line.split())
print(json.dumps([name for name in {(*HEAVY, "tyro", "rich")!r} if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_top_level_help_needs_python_alone() -> None:
    assert _loaded_after("--help", "", "--version") == set()


def test_help_and_refusals_of_every_command_come_before_torch() -> None:
    refused = [
        "trian mnist",
        "train mnist --max-tim 8m",
        "train x --seed -1",
        "sample x --n 0",
        "train x --images 1 --steps 1",
        "presets",
    ]
    assert not _loaded_after(*(f"{command} --help" for command in COMMANDS), *refused) & set(HEAVY)


def test_help_names_every_command_and_begins_with_examples(gendi: Callable[..., Any]) -> None:
    shown = gendi("--help")
    assert shown.code == 0
    assert shown.err == ""
    assert shown.out.index("examples:") < shown.out.index("usage:") < shown.out.index("commands:")
    assert all(f"\n  {command} " in shown.out for command in COMMANDS)
    assert gendi().out == gendi("-h").out == gendi("help").out == shown.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(gendi: Callable[..., Any], command: str) -> None:
    shown = gendi(f"{command} --help")
    assert shown.code == 0
    assert shown.out.startswith(f"examples:\n  gendi {command}")
    assert f"usage: gendi {command}" in shown.out
    assert "{None}" not in shown.out
    assert gendi(f"help {command}").out == shown.out


def test_help_of_train_shows_the_fields_of_the_preset_it_is_asked_with(gendi: Callable[..., Any]) -> None:
    ours, theirs = (
        " ".join(gendi(f"train --preset {name} --help").out.replace("│", " ").split())
        for name in ("mnist", "gendi-report")
    )
    assert "(default: ancestral)" not in ours
    assert "(default: ancestral)" in theirs


def test_the_help_of_a_flag_is_one_paragraph(gendi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal wide enough each docstring of a field is one line, however many lines it has in the source."""
    (kind,) = ast.parse(inspect.getsource(_module("distil").Distil)).body
    assert isinstance(kind, ast.ClassDef)
    texts = [
        str(part.value.value)
        for part in kind.body[1:]
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
    ]
    assert sum("\n" in text for text in texts) > 1
    monkeypatch.setenv("COLUMNS", "4000")
    lines = gendi("distil --help").out.splitlines()
    assert [text for text in texts if not any(" ".join(text.split()) in line for line in lines)] == []


def test_version(gendi: Callable[..., Any]) -> None:
    assert gendi("--version").out == f"gendi {_version()}\n"


def _version() -> str:
    return gendi.__version__


def _examples() -> Iterator[str]:
    for text in (HELP, *(_module(command).EXAMPLES for command in COMMANDS)):
        for line in text.splitlines():
            if line.startswith("  gendi "):
                yield line.strip().split("  ")[0]


@pytest.mark.parametrize("line", sorted(set(_examples())))
def test_every_example_is_understood(line: str, monkeypatch: pytest.MonkeyPatch, gendi: Callable[..., Any]) -> None:
    words = shlex.split(line)[1:]
    module = _module(next(c for c in COMMANDS if words[: len(c.split())] == c.split()))
    parsed = []

    class Parsed(Exception):
        pass

    def parse(*args: Any, **options: Any) -> Any:
        parsed.append(original(*args, **options))
        raise Parsed

    place = module if hasattr(module, "parse") else edits  # which parses for every edit
    original = place.parse
    monkeypatch.setattr(place, "parse", parse)
    gendi(*words, "--debug")
    assert parsed or words[-1] == "--help"
