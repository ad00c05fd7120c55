"""Several processes that work on one run: which they are, how they share values, and what happens if one ends.

    torchrun --nproc-per-node 2 -m -- gendi train mnist

torchrun's environment variables (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) define which processes belong together.
Only process 0 writes files. Everything random is a function of (seed, purpose, step, index), so each process draws the
numbers of the whole batch and takes those of its own rows: the number of processes changes no draw.

PyTorch's gloo carries tensors of the CPU, and NCCL those of GPUs. If a collective fails because a process has ended,
the error becomes a `ResourceError` that names this process: each process has signed in to a store that torchrun holds,
and the remaining ones call the roll there.
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
"""Seconds within which a process has to answer a call of the roll."""
TIMEOUT = 14_400.0
"""Seconds that processes wait for one another unless a configuration sets another time."""
LEAVE = 0.5
"""Seconds in which gloo's threads release the last tensors, for which they need Python. A device mesh, which PyTorch
caches, keeps these threads alive, and a thread that needs Python while it shuts down would abort the process.
"""
_SIGNS = ("gloo", "nccl", "connection", "peer", "timed out", "timeout", "broken pipe", "socket", "store")


class Team:
    """This process and those that it works with. If it is alone, the methods do what a single process would do."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def shares(self, n: int, unit: int = 1) -> list[slice]:
        """Return the rows of n for each process, by rank: contiguous, and as even as multiples of `unit` can be."""
        units = -(-n // unit)
        ends = [min(n, unit * (units * rank // self.size)) for rank in range(self.size + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(ends)]

    def from_first(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, which only process 0 does. If it raises a `GendiError`, every process does."""
        return work()

    def first_before_others(self, work: Callable[[], T]) -> T:
        """Return the result of `work` here, after process 0 has done it: for work that leaves files for the others."""
        return work()

    def join_rows(self, mine: Tensor, shares: Sequence[slice]) -> Tensor:
        """Return all rows (n, ...) in order, on the device of `mine`, from the share that each process has."""
        return mine

    def gathered(self, value: Any) -> list[Any]:
        """Return the plain value of each process, in the order of ranks."""
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
        """Return the ranks that are gone, a description of these processes, and the reasons that they left."""
        gone = self.missing()
        who = ", ".join(f"process {rank} of {self.size} ({self.store.get(f'who/{rank}').decode()})" for rank in gone)
        explained = [rank for rank in gone if self.store.check([f"failed/{rank}"])]
        return gone, who, " ".join(f"It said: {self.store.get(f'failed/{rank}').decode()}" for rank in explained)

    def explained(self, error: RuntimeError) -> Exception:
        """Return the error to raise for a collective that failed; it names the process that is gone, if one is."""
        answers: list[tuple[list[int], str, str]] = []

        def call_roll() -> None:
            with contextlib.suppress(RuntimeError):  # the store is gone too
                answers.append(self._roll())

        # in a thread, because torch waits without end for a store whose machine is up but out of reach
        roll = threading.Thread(target=call_roll, daemon=True)
        roll.start()
        roll.join(2 * ROLL_CALL)
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
    """Return the processes that this one works with: inside `together` those of torchrun, otherwise itself alone."""
    return _here[-1] if _here else _alone


@contextlib.contextmanager
def together(timeout: float = TIMEOUT) -> Iterator[Team]:
    """Work with the processes that torchrun started, inside a `with` block; without torchrun, work alone.

    Args:
        timeout: seconds to wait for another process before the run ends.

    Raises:
        ResourceError: another process is gone; the message names it.
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
    """Leave the reason why this process ends in the store, for the processes that will miss it."""
    with contextlib.suppress(RuntimeError):
        members.store.set(f"failed/{members.rank}", " ".join(str(error).split()) or type(error).__name__)
