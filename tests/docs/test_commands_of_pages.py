"""Every command line in a block of the pages and of README is one that gendi can read; nothing is run.

Lines are those of fenced blocks and of indented ones that begin with `gendi`, with or without torchrun in front. In the
text, where a command stands with `RUN` or `N` for what a reader fills in, its flags must be flags of that command.
"""

import re
import shlex
from pathlib import Path

import pytest

from gendi.cli.commands import COMMANDS, kind_of, split
from gendi.cli.edits import Again, Edit
from gendi.cli.known_words import translated
from gendi.cli.parse import parse, written_flags
from gendi.errors import UsageError

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "book").glob("*.md")), ROOT / "README.md"]
FENCED = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = ("bash", "sh", "")
INDENTED = re.compile(r"^    (gendi .*)$", re.MULTILINE)
INLINE = re.compile(r"`(?:[\w .-]* -- )?gendi ([a-z][^`]*)`")
EVERYWHERE = {"--help", "--debug", "--version", "--completion"}


def lines_of(text: str) -> list[list[str]]:
    """Return the words after `gendi` of every command line in the blocks of a page."""
    blocks = [re.sub(r"\\\n\s*", "", block) for name, block in FENCED.findall(text) if name in SHELLS]
    lines = [line for block in blocks for line in block.splitlines()] + INDENTED.findall(text)
    return [words for line in lines for words in commands_in(line)]


def commands_in(line: str) -> list[list[str]]:
    """Return the words after `gendi` of each command in a line, without comments: `# ...`, or text after a wide gap.

    `$@` stands for any words, and is left out.
    """
    if not re.match(r"\s*(gendi|torchrun|srun) ", line):
        return []
    words = shlex.split(re.split(r"\s{3,}(?!-)", line.strip())[0], comments=True)
    found, start = list[list[str]](), 0
    for end in [*(i for i, word in enumerate(words) if word == "&&"), len(words)]:
        command, start = words[start:end], end + 1
        found.append([word for word in command[command.index("gendi") + 1 :] if word != "$@"])
    return found


def dataclass_of(command: str, args: list[str]) -> type:
    kind: type = kind_of(command)
    return Again if issubclass(kind, Edit) and "--again" in args else kind


def refusal(words: list[str]) -> str:
    """Return why gendi cannot read the words of a command line, or nothing."""
    command, args = split(words)
    if command not in COMMANDS:
        return f"{command!r} is no command"
    if "..." in args or "--help" in args:
        return ""
    try:
        parse(dataclass_of(command, args), args, f"gendi {command}")
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_can_be_read(page: Path) -> None:
    lines = lines_of(page.read_text(encoding="utf-8"))
    assert {" ".join(words): why for words in lines if words[:1] != ["--help"] and (why := refusal(words))} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_flag_in_the_text_is_one_of_its_command(page: Path) -> None:
    unknown = []
    for text in INLINE.findall(page.read_text(encoding="utf-8")):
        command, args = split(re.split(r"[\s(]+", text))
        if command not in COMMANDS:
            unknown.append(text)
            continue
        known = {*EVERYWHERE, *written_flags(dataclass_of(command, args))}
        given = translated([word.partition("=")[0] for word in args if word.startswith("--")], known)
        unknown += [f"{command} {flag}" for flag in given if flag not in known]
    assert unknown == []


def test_what_gendi_cannot_read_is_noticed() -> None:
    assert commands_in("gendi train mnist --max-time 8m   # eight minutes") == [["train", "mnist", "--max-time", "8m"]]
    assert commands_in("    gendi sample runs/a && gendi report runs/a") == [["sample", "runs/a"], ["report", "runs/a"]]
    assert lines_of("```bash\ntorchrun --nnodes 2 \\\n    -m -- gendi train a --n 3\n```\n") == [
        ["train", "a", "--n", "3"]
    ]
    assert refusal(["sample", "runs/mnist", "--n", "64"]) == ""
    assert "--smaples" in refusal(["sample", "runs/mnist", "--smaples", "64"])
    assert "no command" in refusal(["smaple", "runs/mnist"])
    assert refusal(["sample", "runs/mnist", "--n", "many"])
