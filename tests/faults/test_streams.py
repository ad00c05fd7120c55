"""Standard error or output closed or full: training goes on and says so once in train.log; a lost result is exit 5."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from victims import FLAGS

from gendi.machine import streams


def shell(redirected: str, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a real `gendi` process whose streams the shell closes or leads to a full device."""
    command = f'"$0" -m gendi "$@" {redirected}'
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    arguments = ["sh", "-c", command, sys.executable, *map(str, words)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirected", "reason"),
    [
        ("2>&-", "it is closed"),
        ("2>/dev/full", "no space left on device"),
        (">/dev/full 2>&1", "no space left on device"),
        ("<&- >&- 2>&-", "it is closed"),
    ],
)
def test_training_goes_on_without_standard_error(pictures: str, tmp_path: Path, redirected: str, reason: str) -> None:
    run = tmp_path / "run"
    done = shell(redirected, "train", pictures, *FLAGS, "--steps", 3, "--out", run)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    lines = (run / "train.log").read_text().splitlines()
    assert [line for line in lines if "standard error" in line] == [
        f"warning: standard error takes no more lines ({reason}): the run goes on without them."
    ]
    assert done.stderr == "" and len((run / "metrics.jsonl").read_text().splitlines()) == 3
    assert (run / "metrics.jsonl").read_text().startswith("{")  # no file took the number of a closed stream


FULL_LATER = """
import os, sys
import gendi.train.progress.watch as watch
from gendi.cli import main
real, full = watch.Watch.log, os.open("/dev/full", os.O_WRONLY)
def log(self, step, *args):
    if step == 2:
        os.dup2(full, 2)
        print("a line that the disk does not take", file=sys.stderr, flush=True)
    return real(self, step, *args)
watch.Watch.log = log
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_log_s_disk_that_is_full_in_mid_run_is_survived(pictures: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", pictures, *FLAGS, "--steps", "5", "--out", str(run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FULL_LATER, *words], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "step 1" in done.stderr and "does not take" not in done.stderr
    assert (run / "train.log").read_text().count("standard error takes no more lines (no space left on device)") == 1
    assert f"{run}: 5 steps" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirected", "words", "code"),
    [
        (">/dev/full", ("info", "{run}"), 5),
        (">/dev/full", ("info", "{run}", "--json"), 5),
        (">/dev/full", ("train", "--help"), 5),
        (">/dev/full", ("sample", "{run}", "--n", "2", "--out", "{new}.png"), 5),
        (">&-", ("info", "{run}"), 0),
        (">&-", ("sample", "{run}", "--n", "2", "--out", "{new}.png"), 0),
        ("2>&-", ("info", "{run}"), 0),
        ("2>/dev/full", ("sample", "{run}", "--n", "2", "--out", "{new}.png"), 0),
        ("2>/dev/full", ("nonsense",), 2),
        ("2>&-", ("info", "{run}/nothing"), 2),
        (">&- 2>&-", ("verify", "{run}"), 0),
    ],
)
def test_other_commands_say_by_their_exit_code_whether_a_result_was_lost(
    finished: Path, tmp_path: Path, redirected: str, words: tuple[str, ...], code: int
) -> None:
    new = tmp_path / "new"
    done = shell(redirected, *(word.format(run=finished, new=new) for word in words))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    if code == 5:
        assert "no space left on device" in done.stderr
    if words[0] == "sample":
        assert new.with_suffix(".png").stat().st_size > 100
    if redirected == "2>&-" and code == 0:
        assert "11" in done.stdout  # what is printed is the result, and nothing of what standard error lost


def test_a_line_that_is_lost_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with streams.standing_streams():
        assert streams.lost() is None
        print("a warning of some library", file=sys.stderr)
        assert streams.lost() == "it is closed"
        assert not sys.stderr.isatty()
    assert sys.stderr is None
    streams.tell("without a stream")  # as in a program that calls gendi.fit
    assert streams.lost() == "it is closed"


def test_a_character_that_a_terminal_lacks_is_escaped(finished: Path) -> None:
    done = shell("", "info", finished.parent / "no \N{SNOWMAN} here", PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and "no \\u2603 here" in done.stderr
