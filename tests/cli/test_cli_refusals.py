"""Every bad input: its exit code, one paragraph on stderr, nothing on stdout; and what the mistakes have in common."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gendi.api.sample
from gendi.errors import BundleError, DataError, DivergedError, PreemptedError, UsageError

Gendi = Callable[..., Any]
USAGE = [
    ("trian mnist", "Perhaps you meant 'train'"),
    ("data chekc mnist", "Perhaps you meant 'data check'"),
    ("data", "Perhaps you meant 'data check'"),
    ("--hlp", "no flag '--hlp'"),
    ("train", "DATA is missing"),
    ("train mnist --max-tim 8m", "no flag --max-tim. Perhaps you meant --max-time"),
    ("train mnist --network.chanels 64", "Perhaps you meant --network.channels"),
    ("train mnist --epochs 3", "3 epochs of 60,000 training images are --images 180k"),
    ("train mnist more", "'more' is one argument too many"),
    ("train a.h5ad b.h5ad c.h5ad --seed 1", "written with commas: a.h5ad,b.h5ad,c.h5ad"),
    ("cells check a.h5ad b.h5ad", "written with commas: a.h5ad,b.h5ad"),
    ("train mnist --max-time 8", "write 8s for seconds or 8m for minutes"),
    ("train mnist --max-time soon", "write it like 90s, 8m or 1h30m"),
    ("train mnist --max-time 8m --images 2M", "--max-time and --images cannot be given together"),
    ("train mnist --images 2M --steps 5", "--images and --steps cannot be given together"),
    ("train mnist --dry-run --fresh", "--dry-run and --fresh cannot be given together"),
    ("train mnist --preset mnst", "Perhaps you meant 'mnist'"),
    ("train mnist --preset", "--preset"),
    ("train mnist --seed -1", "a seed is a whole number from 0"),
    ("train mnist --steps 0", "between 1 and"),
    ("train mnist --batch-size 0", "between 1 and"),
    ("train mnist --batch-size 2000000", "train.batch_size = 2000000 is out of range"),
    ("train mnist --size big", "write 28, or 96x64"),
    ("train mnist --optim.lr nan", "optim.lr = nan is out of range"),
    ("train mnist --optim.lr fast", "--optim.lr"),
    ("train mnist --network.channels 64 wide", "--network.channels"),
    ("train mnist --network.channels 1000000000", "network.channels[0] = 1000000000 is out of range"),
    ("train mnist --network.channels 60 --network.groups 8", "does not divide evenly"),
    ("train mnist --network.time-input clock", "log-snr"),
    ("train mnist --out", "--out"),
    ("sample", "gendi sample RUN"),
    ("sample runs/none", "no folder runs/none"),
    ("sample runs/none --n 0", "between 1 and 10000000"),
    ("sample runs/none --n 1000000000", "between 1 and 10000000"),
    ("sample runs/none --n many", "no whole number"),
    ("sample runs/none --steps 0", "between 1 and"),
    ("sample runs/none --seed -1", "from 0 to"),
    ("sample runs/none --eta 2", "--eta 2 is out of range"),
    ("sample --again x.png --n 5 --seed 1", "--n and --seed cannot be given with --again"),
    ("evaluate", "neither was given"),
    ("evaluate runs/none --samples x.npz", "not both"),
    ("evaluate --samples x.npz", "--samples needs --data"),
    ("evaluate --samples x.npz --data mnist --steps 5", "--steps cannot be given with --samples"),
    ("evaluate runs/none --n 1", "at least 2"),
    ("report runs/none", "runs/none does not exist"),
    ("info runs/none", "no folder runs/none"),
    ("demo --minutes 0", "minutes are a number above 0"),
    ("demo --minutes long", "minutes are a number above 0"),
    ("presets all", "'all' is one argument too many"),
    ("doctor --jsn", "Perhaps you meant --json"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(outcome: Any, code: int, said: str) -> None:
    assert said in outcome.err
    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err.startswith("gendi: ")
    assert all(line.startswith("  gendi ") for line in outcome.err.splitlines()[1:])
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(("line", "said"), USAGE)
def test_usage(gendi: Gendi, line: str, said: str) -> None:
    refused(gendi(line), 2, said)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("data check nowhere", "no data set, file or folder 'nowhere'"),
        ("data check mnsit", "Perhaps you meant 'mnist'"),
        ("train nowhere --steps 1", "no data set, file or folder"),
        ("sample --again x.png", "no file x.png"),
        ("evaluate --samples x.npz --data mnist", "no file x.npz"),
    ],
)
def test_bad_data(gendi: Gendi, line: str, said: str) -> None:
    outcome = gendi(line)
    assert outcome.code == 3
    assert said in outcome.err


def test_more_steps_than_the_chain_has(gendi: Gendi, tiny_run: Path) -> None:
    refused(gendi(f"sample {tiny_run} --steps 11"), 2, "chain has 10 steps; choose 1 to 10")


def test_an_unknown_sampler(gendi: Gendi, tiny_run: Path) -> None:
    refused(gendi(f"sample {tiny_run} --sampler ddmi"), 2, "Perhaps you meant 'ddim'")


def test_eta_for_a_sampler_without_it(gendi: Gendi, tiny_run: Path) -> None:
    refused(gendi(f"sample {tiny_run} --sampler ancestral --steps 5 --eta 0.5"), 2, "--eta is an option of ddim")


@pytest.mark.parametrize("label", ["2", "-1", "cat"])
def test_an_unknown_class(gendi: Gendi, tiny_run: Path, label: str) -> None:
    outcome = gendi(f"sample {tiny_run} --steps 2 --class={label}")
    refused(outcome, 2, label)


def test_more_samples_than_the_memory_holds(gendi: Gendi, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Little:
        available = 9 * 64 * 100  # 100 samples of 8x8: float32 twice and bytes

    monkeypatch.setattr("psutil.virtual_memory", lambda: Little)
    refused(gendi(f"sample {tiny_run} --n 101 --steps 2 --out x.npz"), 5, "Draw at most 100 at a time")
    assert gendi(f"sample {tiny_run} --n 100 --steps 2 --out x.npz").code == 0


@pytest.mark.parametrize("out", ["x.jpg", "x.npy", "full", "file"])
def test_a_destination_that_cannot_be(gendi: Gendi, tiny_run: Path, out: str) -> None:
    Path("full").mkdir()
    Path("full/precious.txt").write_text("precious")
    Path("file").write_text("precious")
    refused(gendi(f"sample {tiny_run} --steps 2 --out {out}"), 2, f"--out {out}")
    assert Path("full/precious.txt").read_text() == Path("file").read_text() == "precious"


def test_nothing_is_written_into_a_bundle(gendi: Gendi, tiny_run: Path) -> None:
    refused(gendi(f"sample {tiny_run} --steps 2 --out {tiny_run}/bundle/x.png"), 2, "files are sealed")


def test_a_damaged_bundle(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_run / "bundle", copy)
    raw = bytearray((copy / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (copy / "model.safetensors").write_bytes(raw)
    for command in ("sample", "evaluate", "info"):
        refused(gendi(f"{command} {copy}"), 4, "model.safetensors is damaged")


def test_samples_of_another_size(gendi: Gendi, tiny_data: Path) -> None:
    np.savez("rgb.npz", samples=np.zeros((4, 8, 8, 3), np.uint8))
    outcome = gendi(f"evaluate --samples rgb.npz --data {tiny_data}")
    assert outcome.code == 3
    assert "3 channel(s)" in outcome.err


def test_a_picture_that_gendi_did_not_write(gendi: Gendi) -> None:
    from PIL import Image

    Image.new("L", (8, 8)).save("plain.png")
    refused(gendi("sample --again plain.png"), 3, "does not say how it was made")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("so\nand so"), 2, "gendi: so and so"),
        (DataError("bad"), 3, "gendi: bad"),
        (BundleError("bad"), 4, "gendi: bad"),
        (DivergedError("bad"), 6, "gendi: bad"),
        (PreemptedError("saved"), 75, "gendi: saved"),
        (KeyboardInterrupt(), 130, "Stopped by Ctrl-C"),
        (MemoryError(), 5, "Out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), 5, "Out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 5, "Out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "x.png"), 5, "x.png cannot be used: no space left"),
        (PermissionError(errno.EACCES, "Permission denied", "x.png"), 5, "permission denied"),
        (KeyError("key"), 1, "This is a bug in gendi: KeyError: 'key'."),
    ],
)
def test_whatever_a_command_raises(
    gendi: Gendi, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr("gendi.cli.samplers.main", fail)
    refused(gendi("samplers"), code, said)
    debugged = gendi("samplers --debug")
    assert debugged.code == code
    assert "Traceback" in debugged.err
    monkeypatch.setenv("GENDI_DEBUG", "1")
    assert "Traceback" in gendi("samplers").err


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "gendi", "presets", "--json"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 141  # 128 + SIGPIPE, as other tools end


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_while_sampling(
    gendi: Gendi, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    def draw(prepared: Any, poll: Callable[[], None]) -> None:
        os.kill(os.getpid(), number)
        poll()

    monkeypatch.setattr(gendi_api := _api(), "draw", draw)
    outcome = gendi(f"sample {tiny_run} --steps 2 --out x.png")
    assert gendi_api.draw is draw
    assert outcome.code == code
    assert "Nothing was written" in outcome.err
    assert list(Path.cwd().iterdir()) == []


def _api() -> Any:
    return gendi.api.sample
