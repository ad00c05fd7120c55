"""The command line that would not have been refused: the words that were given, with the mend that the error names.

Errors say in words how to mend what they refuse, and may say it as a change of the command's words too
(`gendi.errors.Mend`). Here the change is made, so that the whole line can be copied, with every flag that was given. A
line that would be refused again is not shown.
"""

import shlex
import sys
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from gendi.cli.commands import COMMANDS, kind_of, split
from gendi.cli.known_words import MANY, VALUED
from gendi.cli.parse import parse, values_of
from gendi.errors import GendiError, Mend, UsageError

MOST = 3
"""The most lines that are shown."""
AGAIN = 5
"""How many mistakes in one line are mended."""


def mended_lines(words: Sequence[str], error: GendiError, program: str) -> list[str]:
    """Return the command lines, quoted for a shell, that `words` become by each of the ways to mend an error."""
    found = [_until_read(changed(words, mend)) for mend in error.mends]
    lines = [" ".join((program, *map(shlex.quote, line))) for line in found if line and "".join(line).isprintable()]
    return list(dict.fromkeys(lines))[:MOST]


def _until_read(words: list[str]) -> list[str] | None:
    """Return words once the command can read them, after mending what else is wrong with them; None if it cannot."""
    for _ in range(AGAIN):
        command, args = split(words)
        if command not in COMMANDS:
            return None
        try:
            parse(_kind(command, args), args, f"gendi {command}")
        except UsageError as error:
            if len(error.mends) != 1:
                return None
            words = changed(words, error.mends[0])
        else:
            return words
    return None


def _kind(command: str, args: Sequence[str]) -> Any:
    """Return the dataclass that reads the words of a command; that of an edit reads fewer beside --again."""
    from gendi.cli.edits import Again, Edit

    kind = kind_of(command)
    again = issubclass(kind, Edit) and any(word.partition("=")[0] == "--again" for word in args)
    return Again if again else kind


def changed(words: Sequence[str], mend: Mend) -> list[str]:
    """Return the words of a command line after a mend."""
    command, args = split(words)
    if mend.command is not None:
        if command not in COMMANDS and " " in command and not _is_meant(command, mend.command):
            command, args = command.split()[0], [command.split()[1], *args]
        command = mend.command
    if mend.args is not None:
        return [*command.split(), *mend.args]
    for flag in (*mend.drop, *(word for word in mend.add if word.startswith("--"))):
        args = _without(flag, args, command)
    args = [_put(word, mend) for word in args]
    first = next((i for i, word in enumerate(mend.add) if word.startswith("--")), len(mend.add))
    return [*command.split(), *mend.add[:first], *args, *mend.add[first:]]


def _is_meant(given: str, command: str) -> bool:
    """Return whether the second word of `given` is a slip in that of `command`, and not an argument."""
    return " " in command and SequenceMatcher(None, given.split()[1], command.split()[1]).ratio() >= 0.5


def _put(word: str, mend: Mend) -> str:
    if word in mend.put:
        return mend.put[word]
    name, equals, value = word.partition("=")
    plain = name.replace("_", "-") if name.startswith("--") else name
    return mend.put.get(plain, name) + equals + mend.put.get(value, value)


def _without(flag: str, args: Sequence[str], command: str) -> list[str]:
    """Return words without a flag and its values."""
    many = values_of(kind_of(command), flag) if command in COMMANDS else None
    usual = sys.maxsize if flag in MANY else 1 if flag in VALUED else 0
    most = usual if many is None else many
    out, left = list[str](), 0
    for word in args:
        name, equals, _ = word.partition("=")
        if name.replace("_", "-") == flag:
            left = 0 if equals else most
        elif left and not word.startswith("--"):
            left -= 1
        else:
            left = 0
            out.append(word)
    return out
