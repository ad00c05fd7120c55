"""A signal or a full disk in any loop: the run stops between steps, saved, or goes on when the disk takes it again."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from victims import FLAGS, TINY, started

import gendi.train.progress.keeping as keeping
import gendi.train.progress.previews as previews_module
import gendi.train.run.going_on as going_on_module
import gendi.train.run.loop as loop_module
from gendi.errors import PreemptedError
from gendi.train.budget import Budget
from gendi.train.kept.checkpoint import list_checkpoints, load_latest
from gendi.train.run.loop import train


def and_sigterm(function: Callable[..., Any], at: int = 1) -> Callable[..., Any]:
    """Return `function`, sending this process a SIGTERM in its `at`-th call."""
    calls = 0

    def wrapped(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*args, **options)

    return wrapped


@pytest.mark.parametrize(
    ("owner", "name", "step"),
    [
        (torch.optim.AdamW, "step", 1),  # the optimiser's first, in which it makes its state
        (loop_module.Heldout, "__call__", 5),  # the evaluation on the way: 30 images are 5 steps
        (previews_module, "preview", 5),
        (keeping, "save_checkpoint", 1),
        (going_on_module, "specs", None),  # going on, before the first step
    ],
)
def test_sigterm_in_every_loop_of_training(
    pictures: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, step: Any
) -> None:
    """Exit 75, the step saved, and what comes of going on equals the run that was never stopped, bit for bit."""
    run = tmp_path / "run"
    if step is None:
        train(pictures, TINY, run, Budget(steps=3))
        shutil.rmtree(run / "bundle")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, and_sigterm(getattr(owner, name)))
        with pytest.raises(PreemptedError) as caught:
            train(pictures, TINY, run, Budget(steps=11))
    assert caught.value.exit_code == 75
    assert json.loads((run / "status.json").read_text())["status"] == "preempted"
    saved = list_checkpoints(run)[-1][0]
    assert saved in ((step, step + 1) if step is not None else (4,))
    train(pictures, TINY, run, Budget(steps=11))
    if step is not None:  # a budget of 3 steps has another learning rate
        assert_equal(run, finished)


def test_sigterm_while_a_save_is_under_way(
    pictures: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that training has come to is saved after it, and going on is exact."""
    run, beside = (
        tmp_path / "run",
        dataclasses.replace(TINY, train=dataclasses.replace(TINY.train, checkpoint_every=1e-9)),
    )
    real, loop_thread = keeping.save_checkpoint, threading.get_ident()
    waited: list[int] = []
    stopped = threading.Event()

    def slow(*args: Any) -> Path:
        if threading.get_ident() != loop_thread and not waited:
            waited.append(args[1])
            assert stopped.wait(60)  # steps go on meanwhile
        return real(*args)

    def step(self: Any, *args: Any) -> Any:
        if waited and self.step_count == waited[0] + 3:
            os.kill(os.getpid(), signal.SIGTERM)
            stopped.set()
        return real_step(self, *args)

    real_step = loop_module.Trainer.step
    with monkeypatch.context() as patch:
        patch.setattr(keeping, "save_checkpoint", slow)
        patch.setattr(loop_module.Trainer, "step", step)
        with pytest.raises(PreemptedError):
            train(pictures, beside, run, Budget(steps=11))
    assert [step for step, _ in list_checkpoints(run)] == [waited[0], waited[0] + 4]
    train(pictures, beside, run, Budget(steps=11))
    assert_equal(run, finished)


def assert_equal(a: Path, b: Path) -> None:
    """Every tensor, every line of metrics, every preview."""
    one, two = load_latest(a), load_latest(b)
    assert one is not None and two is not None and one.step == two.step
    assert one.tensors.keys() == two.tensors.keys()
    for group, tensors in one.tensors.items():
        assert tensors.keys() == two.tensors[group].keys()
        assert all(torch.equal(value, two.tensors[group][name]) for name, value in tensors.items()), group
    files = ["metrics.jsonl", "bundle/model.safetensors"]
    files += [str(path.relative_to(b)) for folder in ("previews", "ema") for path in (b / folder).rglob("*.*")]
    assert len(files) > 6
    for name in files:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


@pytest.mark.slow
def test_sigterm_in_sampling_of_a_real_process(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "many.npz"
    process = started("sample", str(finished), "--n", "100000", "--steps", "1000", "--out", str(out))
    assert process.stderr is not None
    process.stderr.readline()  # it says what it draws, once it listens
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 75, err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_disk_full_at_a_save_exit_5_after_three(pictures: str, tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the kernel refuses every file of tensors, in a real process."""
    run = tmp_path / "run"
    words = ("train", pictures, *FLAGS, "--steps", "9", "--train.checkpoint-every", "0", "--out", str(run))
    command = 'ulimit -f 24; exec "$0" -m gendi "$@"'  # blocks of 512 or 1024 bytes; the weights are 34 kB
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *words], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 5, done.stderr
    assert "bytes are needed" in done.stderr and "Traceback" not in done.stderr
    assert (run / "train.log").read_text().count("Trying again") == 2
    assert list_checkpoints(run) == []
    assert [path.name for path in run.rglob("*tmp-*")] == []


SMALL_DISK = """
import os, subprocess, sys
from pathlib import Path
disk, data = Path(sys.argv[1]), sys.argv[2]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "none", str(disk)], check=True)
import gendi.train.progress.keeping as keeping
from gendi.cli import main
real, calls = keeping.save_checkpoint, []
filler = disk / "filler"
def save(*args):
    calls.append(args[1])
    if len(calls) == 3:  # not a byte is left, as happens when another program writes
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(512)):
                    pass
            except OSError:
                pass
    if len(calls) == 5:
        filler.unlink()
    return real(*args)
keeping.save_checkpoint = save
code = main(["train", data, *sys.argv[3:], "--steps", "9", "--train.checkpoint-every", "0", "--out", str(disk / "run")])
print("code", code, calls)
print("log", (disk / "run/train.log").read_text().count("Trying again"))
print("lines", len((disk / "run/metrics.jsonl").read_text().splitlines()))
print("verify", main(["verify", str(disk / "run")]))
"""


def _may_mount() -> bool:
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(sys.platform != "linux" or not _may_mount(), reason="no file system can be mounted here")
def test_disk_full_to_the_last_byte_is_survived_once_it_has_room(pictures: str, tmp_path: Path) -> None:
    """Two saves, log lines, status and metrics find no byte free; then the disk has room, and nothing is missing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "-rm", sys.executable, "-c", SMALL_DISK, str(disk), pictures, *FLAGS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    said = {line[0]: line[1] for line in lines if len(line) == 2}
    assert said["code"].startswith("0 "), done.stderr
    assert said["lines"] == "9"
    assert said["verify"] == "0"
    assert done.stderr.count("bytes are needed") + done.stderr.count("too full") >= 2


def test_folder_that_cannot_be_written_is_said_before_step_0(pictures: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    process = started("train", pictures, *FLAGS, "--steps", "2", "--out", str(tmp_path / "file" / "run"))
    _, err = process.communicate()
    assert process.returncode == 5 and "cannot be written" in err
