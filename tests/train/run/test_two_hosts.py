"""The recipe for several machines, rehearsed: two hosts with names, addresses and network stacks of their own.

They are namespaces of this kernel joined by a virtual cable (`unshare`, `ip link`), which needs root; they end with
the processes that hold them.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from gendi.errors import ResourceError
from gendi.machine import distributed
from gendi.train.kept.checkpoint import load_latest

FLAGS = (
    "--network.channels 8 --network.groups 4 --network.time-dim 16 --batch-size 8 --optim.name muon "
    "--train.preview-every 0 --train.precision fp32 --train.layout contiguous"
)
MEET = "--nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint host-a:29500 --rdzv-id rehearsal"
ADDRESSES = {"host-a": "10.77.0.1", "host-b": "10.77.0.2"}


def new_host() -> subprocess.Popen[bytes]:
    """Return a process that holds a network, a set of mounts and a name of its own."""
    command = ["unshare", "--net", "--mount", "--uts", "sh", "-c", "echo ready; exec sleep 280"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert holder.stdout is not None
    said = holder.stdout.readline().decode()
    if said != "ready\n":
        holder.wait(10)
        pytest.skip(f"this machine lets no process have a network of its own: {said.strip()}")
    return holder


def inside(holder: subprocess.Popen[bytes], *words: object) -> list[str]:
    return ["nsenter", "--target", str(holder.pid), "--net", "--mount", "--uts", *map(str, words)]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    if missing := [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]:
        pytest.skip(f"{missing[0]} is not there")
    table = tmp_path / "hosts"
    table.write_text("127.0.0.1 localhost\n" + "".join(f"{where} {name}\n" for name, where in ADDRESSES.items()))
    with contextlib.ExitStack() as ending:
        pair = []
        for _ in ADDRESSES:
            pair.append(new_host())
            ending.callback(pair[-1].communicate)
            ending.callback(pair[-1].kill)
        cable = ["ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns"]
        made = subprocess.run(inside(pair[0], *cable, pair[1].pid), capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"this kernel has no virtual cable: {made.stderr.strip()}")
        for holder, (name, address) in zip(pair, ADDRESSES.items(), strict=True):
            setup = (
                f"ip addr add {address}/24 dev wire && ip link set wire up && ip link set lo up && "
                f"hostname {name} && mount --bind {table} /etc/hosts"
            )
            subprocess.run(inside(holder, "sh", "-c", setup), check=True)
        yield pair


def torchrun(*words: object) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *map(str, words)]


@pytest.mark.slow
def test_two_hosts_train_what_two_processes_of_one_host_do(
    tmp_path: Path, images: str, hosts: list[subprocess.Popen[bytes]]
) -> None:
    """The number of processes is the same, so the sums are taken in the same order: equal bit for bit."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    train = ["-m", "--", "gendi", "train", images, *FLAGS.split(), "--steps", 5, "--out"]
    both = [
        subprocess.Popen(
            inside(host, *torchrun(*MEET.split(), *train, tmp_path / "hosts-run")),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for host in hosts
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "finished" in said[0] + said[1]
    one_host = torchrun("--nproc-per-node", 2, "--standalone", *train, tmp_path / "one-host-run")
    subprocess.run(one_host, env=env, check=True, timeout=120, stdout=subprocess.DEVNULL)
    far, near = load_latest(tmp_path / "hosts-run"), load_latest(tmp_path / "one-host-run")
    assert far is not None and near is not None and far.step == near.step == 5
    assert far.tensors.keys() == near.tensors.keys()
    for group, tensors in near.tensors.items():
        assert tensors.keys() == far.tensors[group].keys()
        assert all(torch.equal(far.tensors[group][name], value) for name, value in tensors.items()), group


@pytest.mark.slow
def test_a_host_that_is_lost_ends_the_run_on_both(
    tmp_path: Path, images: str, hosts: list[subprocess.Popen[bytes]]
) -> None:
    """The cable is pulled: each side waits `--train.timeout` seconds, calls the roll, and says who is gone."""
    run, said = tmp_path / "run", [tmp_path / f"{name}.txt" for name in ADDRESSES]
    train = ["-m", "--", "gendi", "train", images, *FLAGS.split(), "--steps", 100_000, "--out", run]
    command = torchrun(*MEET.split(), *train, "--train.checkpoint-every", 0, "--train.timeout", 5)
    with contextlib.ExitStack() as ending:
        for host, path in zip(hosts, said, strict=True):
            file = ending.enter_context(path.open("w"))
            both = subprocess.Popen(inside(host, *command), stdout=file, stderr=file)
            ending.callback(both.wait)
            ending.callback(both.kill)  # torchrun on the side without the store waits for it much longer
        assert seen(lambda: bool(list(run.glob("checkpoints/step_*"))), 60)
        subprocess.run(inside(hosts[1], "ip", "link", "set", "wire", "down"), check=True)
        for path in said:
            assert seen(lambda path=path: "ended or does not answer" in path.read_text(), 60), path.read_text()
    assert "process 1 of 2 (pid" in said[0].read_text() and "on host-b)" in said[0].read_text()
    assert "the process that holds the store, or its machine, ended" in said[1].read_text()
    found = load_latest(run)
    assert found is not None and not found.problems


def seen(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    return condition()


class Unreachable:
    """A store whose machine is no longer there: what is sent is lost, and what is asked is waited for."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def set(self, key: str, value: str) -> None:
        pass

    def check(self, keys: list[str]) -> bool:
        self.asking = threading.current_thread()
        self.end.wait()
        raise RuntimeError("connection closed")


def test_a_store_that_never_answers_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "ROLL_CALL", 0.1)
    store = Unreachable()
    error = distributed._Several(store, 1, 2).explained(RuntimeError("gloo: timed out"))
    store.end.set()
    store.asking.join(60)
    assert isinstance(error, ResourceError)
    assert "the process that holds the store, or its machine, ended or does not answer" in str(error)
