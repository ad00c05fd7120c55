"""A small run to break: checkpoints of a few tensors, and a file system that fails or kills at its n-th call."""

import builtins
import errno
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from gendi.train.kept.checkpoint import save_checkpoint

# every call by which a save changes the disk, or makes a change durable
CALLS = ("open", "write", "fsync", "close", "mkdir", "rename", "replace", "unlink", "rmdir")
Act = Callable[[str, tuple[Any, ...]], None]


def groups(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors that tell which step they are of, in the dtypes and layouts that a run has."""
    kernel = (torch.arange(24.0) + step).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last)
    return {
        "model": {"conv.weight": kernel, "scale": torch.tensor(float(step)), "count": torch.tensor([step])},
        "ema": {"conv.weight": (kernel + 0.5).to(torch.bfloat16), "mask": torch.tensor([True, False, True])},
        "optimizer": {"conv.weight/exp_avg": -kernel, "empty": torch.zeros(0, 3)},
    }


def save(run: Path, step: int, keep: int = 2) -> Path:
    return save_checkpoint(run, step, groups(step), {"images": 128 * step, "lr": 0.1 / 3}, keep=keep)


def assert_whole(found: Any, step: int) -> None:
    """`found` is the checkpoint of `step`, equal to what was saved, bit for bit."""
    assert found is not None
    assert (found.step, found.state) == (step, {"images": 128 * step, "lr": 0.1 / 3})
    assert_tensors(found.tensors, groups(step))


def assert_tensors(found: dict[str, dict[str, torch.Tensor]], wanted: dict[str, dict[str, torch.Tensor]]) -> None:
    assert found.keys() == wanted.keys()
    for name, group in wanted.items():
        assert found[name].keys() == group.keys()
        for key, tensor in group.items():
            assert found[name][key].dtype == tensor.dtype
            assert torch.equal(found[name][key], tensor), (name, key)


@contextmanager
def watched(act: Act) -> Iterator[None]:
    """Call `act(name, args)` before every file-system call of CALLS made through `os`, and for `open` to write."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            original = getattr(os, name)

            def call(*args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
                act(_name, args)
                return _original(*args, **kwargs)

            patch.setattr(os, name, call)
        yield


@contextmanager
def failing(at: int, persistent: bool = False) -> Iterator[list[str]]:
    """Fail the `at`-th call (from 1) with ENOSPC, and every later one too if `persistent`; yield the calls made.

    A persistent failure spares `close`, which a full disk does not fail, and reading.
    """
    made: list[str] = []

    def act(name: str, args: tuple[Any, ...]) -> None:
        made.append(name)
        if len(made) == at or (persistent and len(made) > at and name not in ("close", "unlink", "rmdir")):
            if name == "close":
                real_close(args[0])  # POSIX: the descriptor is gone even when close reports an error
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real_close = os.close
    with watched(act):
        yield made


def killed_at(at: int, work: Callable[[], object], torn: bool = False) -> bool:
    """Run `work` in a forked process that gets SIGKILL before its `at`-th call; whether it was killed.

    `torn`: if that call is a write, half of it is written first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks beside threads; the child only writes files
        pid = os.fork()
    if pid == 0:
        try:
            count, real_write = 0, os.write

            def act(name: str, args: tuple[Any, ...]) -> None:
                nonlocal count
                count += 1
                if count == at:
                    if torn and name == "write":
                        real_write(args[0], args[1][: len(args[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)

            with watched(act):
                work()
        except BaseException as error:
            builtins.print(f"child failed: {error!r}")
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False
