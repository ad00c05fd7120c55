"""The command line: `gendi COMMAND ...`.

One small file per command. This module knows their names and nothing else, so that `gendi --help` needs no more than
Python itself; a command's file is imported when it is called, and it imports torch once its flags are parsed.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gendi.cli.commands import COMMANDS as COMMANDS
from gendi.cli.commands import commands_under, module_of, split
from gendi.errors import UsageError
from gendi.machine.streams import flush_results, standing_streams

LIGHT = ("models", "presets", "runs")
"""Commands that never load torch."""
HELP = """\
gendi: train, sample and measure denoising diffusion models

examples:
  gendi sample digits                          64 digits, from a model that comes with gendi
  gendi demo                                   digits in minutes, and a report
  gendi train mnist --max-time 8m              train within a budget
  gendi train photos/ --size 32 --out runs/me  any folder of images
  gendi sample runs/mnist --n 64 --seed 1      a grid of samples
  gendi evaluate runs/mnist                    how good they are

usage: gendi COMMAND [...]
"""

FOOT = """
  gendi COMMAND --help   the flags of a command, with examples
  --version              the version
  --completion SHELL     a script that completes commands and flags: bash, zsh or fish
  --debug                the traceback of an error (or GENDI_DEBUG=1)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("GENDI_DEBUG", "") not in ("", "0")
    if "--debug" in words:
        words.remove("--debug")
        debug = True
    with standing_streams():
        try:
            try:
                code = _dispatch(words)
            except SystemExit as stop:  # tyro, after it printed a help
                code = stop.code if isinstance(stop.code, int) else 0
            flush_results()
            return code
        except BaseException as error:
            from gendi.cli.failure import explain

            return explain(error, debug, words)


def help_text() -> str:
    """Return what `gendi --help` prints."""
    return f"{HELP}\ncommands:\n{_listed(COMMANDS)}\n{FOOT}"


def _listed(commands: Mapping[str, str], before: str = "") -> str:
    """Return lines with the names of commands and what each does."""
    width = max(map(len, commands))
    return "\n".join(f"  {before}{name:<{width}}  {about}" for name, about in commands.items())


def _require_current_folder() -> None:
    """Raise `UsageError` if the folder in which the command was started is gone: no relative path could be found."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError(
            "The current folder no longer exists: it was deleted or moved. Change to one that exists (cd) and "
            "run the command again."
        ) from None


def _dispatch(words: list[str]) -> int:
    if not words and Path("config.toml").is_file():
        from gendi.cli.here import about_this_run

        if about_this_run():
            return 0
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1 and words[0] == "help":
            return _dispatch([*words[1:], "--help"])
        print(help_text(), end="")
        return 0
    if words[0] in ("--version", "-V"):
        from gendi import __version__

        print(f"gendi {__version__}")
        return 0
    if words[0] == "--completion":
        from gendi.cli.completion import script

        print(script(words[1:], list(COMMANDS)), end="")
        return 0
    name, args = split(words)
    if name not in COMMANDS:
        inside = commands_under(" ".join(words[:-1])) if words[-1] in ("-h", "--help") else []
        if len(inside) == 1:
            return _dispatch([*inside[0].split(), "--help"])
        if inside:
            print(f"commands:\n{_listed({name: COMMANDS[name] for name in inside}, 'gendi ')}")
            return 0
        from gendi.cli.commands import unknown_command

        raise unknown_command(name)
    _require_current_folder()
    if name not in LIGHT and not {"-h", "--help"} & set(args):
        from gendi.machine.address_space import require_address_space

        require_address_space()
    module = importlib.import_module(module_of(name))
    code: int = module.main(args)
    return code
