"""How a process computes its rows of a batch: all at once, or in parts if they do not fit in memory."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gendi.data import Data
from gendi.errors import Mend, ResourceError, UsageError, is_out_of_memory
from gendi.machine.distributed import Team
from gendi.train.config import RunConfig


class Parts:
    """The rows of a batch that this process computes, and the number of parts in which it does so.

    Args:
        share: the rows of the batch that this process computes.
        count: the number of parts. 0 starts with one part, and doubles the number whenever memory runs out, down to
            single rows.
    """

    def __init__(self, share: slice, count: int) -> None:
        self.share, self.count, self.grows = share, max(1, count), count == 0

    @property
    def rows(self) -> int:
        """The number of rows of a batch that this process computes."""
        return int(self.share.stop - self.share.start)

    def through(self, work: Callable[[slice], Tensor], undo: Callable[[], None]) -> Tensor:
        """Call `work` on one part after the other, and return the results joined: (rows, ...).

        If the number of parts may grow and memory runs out, `undo` is called and the batch starts again in more parts.
        """
        while True:
            try:
                return torch.cat([work(part) for part in parts(self.share, self.count)])
            except (RuntimeError, MemoryError) as error:
                if not self.grows or self.count >= self.rows or not is_out_of_memory(error):
                    raise
            undo()  # outside the `except` block, because the error would keep the activations in memory
            self.count = min(2 * self.count, self.rows)


def parts(share: slice, count: int) -> Iterator[slice]:
    """Yield `count` slices of nearly equal length that cover `share` in order; fewer slices if it has fewer rows."""
    rows, count = share.stop - share.start, min(count, share.stop - share.start)
    for i in range(count):
        yield slice(share.start + rows * i // count, share.start + rows * (i + 1) // count)


def refuse_shares(config: RunConfig, team: Team, device: torch.device) -> None:
    """Raise `UsageError` if the processes of `team`, or workers on `device`, cannot share a batch."""
    if config.train.workers > 1 and (team.size > 1 or device.type != "cpu"):
        raise UsageError(
            f"train.workers = {config.train.workers} is for one process on a CPU, whose cores the workers divide; this "
            f"run has {team.size} on {device.type}. Leave it out."
        )
    if config.train.batch_size < team.size:
        raise UsageError(
            f"train.batch_size = {config.train.batch_size} cannot be shared by {team.size} processes: each "
            "needs at least one row of a batch. Start fewer, or give a larger --batch-size."
        )
    if config.train.accumulate == 0 and team.size > 1:
        raise UsageError(
            f"--batch-size auto (train.accumulate = 0) is for one process, and there are {team.size}: when one runs "
            "out of memory, the others wait for it in the middle of a step. Say in how many parts a process computes "
            "its rows: --train.accumulate 4."
        )


def out_of_memory(config: RunConfig, data: Data, team: Team) -> ResourceError:
    """Return the error that says which batch did not fit in memory, and what helps."""
    batch, count = config.train.batch_size, config.train.accumulate
    several = f" over {team.size} processes" if team.size > 1 else ""
    smaller = f"make it smaller (--batch-size {max(1, batch // 2)}), or train on smaller images (--size)."
    half = Mend(drop=("--train.batch-size",), add=("--batch-size", str(max(1, batch // 2))))
    mends = [half] if batch > 1 and count else []
    if count and team.size == 1:
        mends.insert(0, Mend(drop=("--train.accumulate", "--train.batch-size"), add=("--batch-size", "auto")))
    if count == 0:
        how, mend = ", even one row at a time", f"Choose a smaller network, or {smaller.partition('or ')[2]}"
    else:
        auto = "automatically (--batch-size auto)" if team.size == 1 else "as you say"
        how = f", in {count} parts" if count > 1 else ""
        mend = f"Compute it in parts, {auto} or a given number (--train.accumulate {2 * count}), {smaller}"
    row = "rows" if data.codec is None else data.codec.description
    error = ResourceError(f"Out of memory at batch size {batch} of {row}{several}{how}. {mend}")
    return error.mended_by(*mends)
