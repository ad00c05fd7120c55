"""Real kills of real processes: SIGKILL at each file-system call of a save, signals in every loop, Ctrl-C twice.

The calls are counted by Python's audit hook and by wrapping the functions of `os` that it does not see (write, fsync,
close), in a process that has nothing of the test's but its command line.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from victims import FLAGS, started

from gendi.train.kept.checkpoint import list_checkpoints, load_latest
from gendi.train.kept.verify import verify

SAVER = """
import os, signal, sys
from pathlib import Path
import torch
from gendi.train.kept.checkpoint import save_checkpoint
run, at = Path(sys.argv[1]), int(sys.argv[2])

def save(step):
    tensors = {"model": {"w": torch.full((50, 7), float(step))}, "ema": {"w": torch.full((50, 7), step + 0.5)}}
    save_checkpoint(run, step, tensors, {"images": step}, keep=2)

count, armed = 0, False
def call(name):
    global count
    if armed:
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

def hook(event, args):
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "shutil.rmtree"):
        call(event)
sys.addaudithook(hook)
for name in ("write", "fsync", "close"):
    def wrapped(*args, _real=getattr(os, name), _name=name):
        call(_name)
        return _real(*args)
    setattr(os, name, wrapped)
save(1)
save(2)
for child in range(at, at + int(sys.argv[3])):  # a process per call, without importing torch for each
    at = child
    pid = os.fork()
    if pid == 0:
        run = run.parent / f"killed-{at}"
        save(1)
        save(2)
        armed, count = True, 0
        save(3)
        armed = False
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print(at, os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), flush=True)
    if not os.WIFSIGNALED(status):
        break
"""


def test_sigkill_at_any_file_system_call_of_a_save_of_a_real_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAVER, str(tmp_path / "run"), "1", "400"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    ends = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [end for _, end in ends] == [signal.SIGKILL] * (len(ends) - 1) + [0]  # the last one passed untouched
    assert len(ends) > 50  # 4 files: open, write, fsync, close; folders, renames, `latest`, pruning
    for at, end in ends:
        run = tmp_path / f"killed-{at}"
        newest = list_checkpoints(run)[-1][0]
        found = load_latest(run)
        assert found is not None and found.problems == ()
        assert found.step == newest and newest in (2, 3)
        assert bool((found.tensors["model"]["w"] == newest).all() and (found.tensors["ema"]["w"] == newest + 0.5).all())
        assert all(each.problem is None for each in verify(run))
        assert end != 0 or newest == 3


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def status(run: Path) -> str:
    return str(json.loads((run / "status.json").read_text())["status"])


def test_sigterm_in_training_of_a_real_process(pictures: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("train", pictures, *FLAGS, "--images", "1M", "--out", str(run))
    process = started(*words)
    wait_for((run / "status.json").exists, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 75 and "Run the same command again" in err
    assert status(run) == "preempted"
    assert all(found.problem is None for found in verify(run))
    assert load_latest(run) is not None


PATIENT = """
import sys, time
import gendi.train.step.trainer as trainer
real = trainer.Trainer.step
def step(self, progress):
    if self.step_count == 4:
        print("stuck", flush=True)
        while True:
            time.sleep(0.01)
    return real(self, progress)
trainer.Trainer.step = step
from gendi.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_twice_stops_a_step_that_does_not_end(pictures: str, tmp_path: Path) -> None:
    """The first asks to finish the step, which never ends; the second stops at once, and the last save is intact."""
    run = tmp_path / "run"
    words = ("train", pictures, *FLAGS, "--steps", "9", "--train.checkpoint-every", "0", "--out", str(run))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", PATIENT, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "stuck\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopped by Ctrl-C" in err and "Traceback" not in err
    assert status(run) == "interrupted"
    found = load_latest(run)
    assert found is not None and (found.step, found.problems) == (4, ())


@pytest.mark.slow
@pytest.mark.parametrize("saves", [1, 4, 9])
def test_sigkill_while_a_save_is_under_way_beside_training(pictures: str, tmp_path: Path, saves: int) -> None:
    """Saves follow upon one another in their thread; whenever the process is killed, the newest committed one loads."""
    run = tmp_path / "run"
    words = ("train", pictures, *FLAGS, "--images", "1M", "--train.checkpoint-every", "1e-9", "--out", str(run))
    process = started(*words)
    seen: set[int] = set()

    def enough() -> bool:
        seen.update(step for step, _ in list_checkpoints(run))
        return len(seen) > saves

    wait_for(enough, process)
    process.kill()
    process.communicate()
    found = load_latest(run)
    assert found is not None and found.problems == () and found.step >= max(seen)
    assert all(each.problem is None for each in verify(run) if "checkpoints" in str(each.path))
