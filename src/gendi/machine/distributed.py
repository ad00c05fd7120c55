"""Several processes at one run: who is there, what they tell one another, and what happens when one is gone.

    torchrun --nproc-per-node 2 -m -- gendi train mnist

torchrun says by the environment (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) who belongs together. Process 0 alone
writes files. Everything random is a function of (seed, purpose, step, index), so each process draws what the whole
batch draws and takes its own rows: the number of processes changes no draw.

PyTorch's gloo carries tensors of the CPU, NCCL those of GPUs. A collective that fails because a process is gone becomes
a `ResourceError` that names it: each process signs in to a store that torchrun holds, and those who are left call the
roll.
"""

import contextlib
import datetime
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from gendi.errors import GendiError, ResourceError, UsageError

T = TypeVar("T")
ROLL_CALL = 5.0
"""Seconds that a process has to answer when another one was not heard of."""
TIMEOUT = 14_400.0
"""Seconds that processes wait for one another where no configuration says how long."""
LEAVE = 0.5
"""Seconds in which gloo's threads let go of the last tensors, for which they need Python. A device mesh, which PyTorch
caches, keeps them alive; one that asks for Python while it shuts down aborts the process.
"""
_SIGNS = ("gloo", "nccl", "connection", "peer", "timed out", "timeout", "broken pipe", "socket", "store")


class Team:
    """This process and those it works with. Alone, every method is what one process would do without it."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def shares(self, n: int, unit: int = 1) -> list[slice]:
        """Return the rows of n that each process does, by rank: contiguous, and as even as multiples of `unit` are."""
        units = -(-n // unit)
        ends = [min(n, unit * (units * rank // self.size)) for rank in range(self.size + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(ends)]

    def from_first(self, work: Callable[[], T]) -> T:
        """Return what `work` gives in process 0, which alone does it. A `GendiError` of it is everyone's."""
        return work()

    def first_before_others(self, work: Callable[[], T]) -> T:
        """Return what `work` gives here, after process 0 has done it: for work that leaves files to be found."""
        return work()

    def join_rows(self, mine: Tensor, shares: Sequence[slice]) -> Tensor:
        """Return all rows (n, ...), of which each process has its share, in order, on the device of `mine`."""
        return mine

    def gathered(self, value: Any) -> list[Any]:
        """Return each process's plain value, in the order of ranks."""
        return [value]


class _Several(Team):
    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.store, self.rank, self.size = store, rank, size
        store.set(f"who/{rank}", f"pid {os.getpid()} on {socket.gethostname()}")

    def from_first(self, work: Callable[[], T]) -> T:
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = work()
            except GendiError as refused:
                outcome[1] = refused
        dist.broadcast_object_list(outcome, src=0)
        value, error = outcome
        if error is not None:
            error.relayed = not self.first
            raise error
        return value  # type: ignore[no-any-return]

    def first_before_others(self, work: Callable[[], T]) -> T:
        mine: list[T] = []
        self.from_first(lambda: mine.append(work()))
        return mine[0] if self.first else work()

    def join_rows(self, mine: Tensor, shares: Sequence[slice]) -> Tensor:
        rows = [share.stop - share.start for share in shares]
        padded = torch.zeros((max(rows), *mine.shape[1:]), dtype=mine.dtype, device=mine.device)
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in rows]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])

    def gathered(self, value: Any) -> list[Any]:
        out: list[Any] = [None] * self.size
        dist.all_gather_object(out, value)
        return out

    def missing(self, patience: float = ROLL_CALL) -> list[int]:
        """Return the ranks that do not answer a call of the roll within `patience` seconds."""
        self.store.set(f"here/{self.rank}", "1")
        until = time.monotonic() + patience
        silent = [rank for rank in range(self.size) if rank != self.rank]
        while silent and time.monotonic() < until:
            silent = [rank for rank in silent if not self.store.check([f"here/{rank}"])]
            time.sleep(0.05)
        return silent

    def _roll(self) -> tuple[list[int], str, str]:
        """Return the ranks that are gone, who they are, and what they said."""
        gone = self.missing()
        who = ", ".join(f"process {rank} of {self.size} ({self.store.get(f'who/{rank}').decode()})" for rank in gone)
        said = [rank for rank in gone if self.store.check([f"failed/{rank}"])]
        return gone, who, " ".join(f"It said: {self.store.get(f'failed/{rank}').decode()}" for rank in said)

    def explained(self, error: RuntimeError) -> Exception:
        """Return what to raise for a collective that failed: the process that is gone is named, if one is."""
        answers: list[tuple[list[int], str, str]] = []

        def ask() -> None:
            with contextlib.suppress(RuntimeError):  # the store is gone too
                answers.append(self._roll())

        # a store whose machine is unreachable, not down, is waited for without end
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(2 * ROLL_CALL)
        gone, who, why = answers[0] if answers else ([0], "the process that holds the store, or its machine,", "")
        if not gone:
            return error
        return ResourceError(
            f"Training or sampling over {self.size} processes stopped: {who} ended or does not answer. {why} What was "
            "saved before is whole; run the same command again to go on."
        )


_alone = Team()
_here: list[Team] = []


def team() -> Team:
    """Return the processes that this one works with: inside `together` those of torchrun, else itself alone."""
    return _here[-1] if _here else _alone


@contextlib.contextmanager
def together(timeout: float = TIMEOUT) -> Iterator[Team]:
    """Work with the processes that torchrun started, in the `with` block; without torchrun, alone.

    Args:
        timeout: seconds to wait for another process before the run ends.

    Raises:
        ResourceError: another process is gone; named.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or _here:
        yield team()
        return
    members = _meet(timeout)
    _here.append(members)
    try:
        yield members
        dist.barrier()
        dist.destroy_process_group()
        time.sleep(LEAVE)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or not _is_of_a_collective(error):
            _sign_off(members, error)
            raise
        raise members.explained(error) from error
    except BaseException as error:
        _sign_off(members, error)
        raise
    finally:
        _here.pop()


def _meet(timeout: float) -> _Several:
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UsageError(
            f"WORLD_SIZE = {os.environ['WORLD_SIZE']} but {missing[0]} is not set: start several processes by torchrun "
            "--nproc-per-node N -m -- gendi ..., or unset WORLD_SIZE."
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    wait = datetime.timedelta(seconds=timeout)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", timeout=wait))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)
    except RuntimeError as error:
        raise ResourceError(
            f"The processes did not meet within {timeout:g} s at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']}: {str(error).splitlines()[0]} Are all of them started, and is that port open?"
        ) from error
    return _Several(torch.distributed.distributed_c10d.PrefixStore("gendi", store), rank, size)


def _is_of_a_collective(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(sign in text for sign in _SIGNS)


def _sign_off(members: _Several, error: BaseException) -> None:
    """Leave word of why this process ends, for those who will miss it."""
    with contextlib.suppress(RuntimeError):
        members.store.set(f"failed/{members.rank}", " ".join(str(error).split()) or type(error).__name__)
