"""The form of torchrun that is shown everywhere gives gendi its flags, whatever they are called.

torchrun reads what follows the module's name too, and takes `--n` or `--run` for a shortened flag of its own; not after
two dashes.
"""

import re
import shlex
from pathlib import Path

import pytest
from torch.distributed.run import parse_args

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.*"), *(ROOT / "src").rglob("*.py")]
TEXTS = [path.read_text(encoding="utf-8") for path in FILES if path.suffix in (".md", ".py", ".sbatch")]
LINES = [line for text in TEXTS for line in re.sub(r"\\\n\s*", "", text).splitlines()]
FOUND = filter(None, (re.search(r"torchrun .*-m .*", line) for line in LINES))
SHOWN = sorted({re.split(r"\s{3,}|\"{3}", found[0])[0] for found in FOUND})


def test_every_place_that_shows_torchrun_shows_the_two_dashes() -> None:
    assert len(SHOWN) >= 6
    assert [line for line in SHOWN if "-m -- gendi" not in line] == []


@pytest.mark.parametrize("line", [line for line in SHOWN if "`" not in line and "..." not in line])
def test_what_is_shown_reaches_gendi_whole(line: str) -> None:
    words = shlex.split(re.sub(r"\$\(\(.*?\)\)|\$\{?\w+(:-\w+)?\}?", "4", line))[1:]
    dashes = words.index("--")
    found = parse_args(words)
    assert found.module and found.training_script == "gendi"
    assert found.training_script_args == words[dashes + 2 :] != []


@pytest.mark.parametrize("flags", ["sample a --n 100", "train a --run b --role c --log d --max e --no f", "a -m"])
def test_flags_that_torchrun_has_too_are_gendis(flags: str) -> None:
    found = parse_args(["--nproc-per-node", "2", "-m", "--", "gendi", *flags.split()])
    assert found.training_script_args == flags.split() and found.nproc_per_node == "2"
