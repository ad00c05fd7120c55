"""What several processes agree on after each step: whether to stop, whether to save, and what time it is."""

from typing import get_args

import torch

from gendi.machine.distributed import Team
from gendi.train.progress.signals import Reason


def agreed(team: Team, reason: Reason | None, seconds: float, save: bool) -> tuple[Reason | None, float, bool]:
    """Return why to stop at this step (None if no process has a reason), the time trained, and whether to save.

    The time, and whether to save, are those of process 0.

    Args:
        team: the processes.
        reason: why this process wants to stop, if it does.
        seconds: trained so far, by the clock of this process.
        save: whether this process thinks that a checkpoint is due.
    """
    reasons: tuple[Reason | None, ...] = (None, *get_args(Reason))
    row = torch.tensor([[reasons.index(reason), seconds, save]], dtype=torch.float64)
    rows = team.join_rows(row, team.shares(team.size)).tolist()  # at every step: no pickling
    return next((reasons[int(code)] for code, _, _ in rows if code), None), rows[0][1], bool(rows[0][2])
