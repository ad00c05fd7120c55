"""What is written of the steps of a run, and when steps that cannot be applied end it."""

import json
import math
from collections.abc import Mapping
from typing import Any

from gendi.data.order import batch_indices
from gendi.data.split import Split
from gendi.errors import DivergedError, Mend
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import list_checkpoints
from gendi.train.kept.folders import elsewhere
from gendi.train.progress.keeping import Keeper
from gendi.train.step.trainer import StepResult

BAD_STEPS_ALLOWED = 2  # a third in a row ends the run


class Watch:
    """Counts the steps without a finite loss, and gathers losses for the next line of metrics.jsonl.

    Args:
        keeper: writes the lines.
        config: of the run.
        rows: the training rows, whose order says which of them a bad step had.
    """

    def __init__(self, keeper: Keeper, config: RunConfig, rows: Split) -> None:
        self.keeper, self.config, self.rows = keeper, config, rows
        self.forms = 1
        """`gendi.data.dataset.Data.forms` of the rows that the network sees."""
        self.window: list[list[float]] = []
        """Loss and gradient norm of each step since the last line."""
        self.bad_steps = 0

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint's state.json holds of this."""
        return {"window": self.window, "bad_steps": self.bad_steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.window = [list(row) for row in state["window"]]
        self.bad_steps = int(state["bad_steps"])

    def guard(self, step: int, result: StepResult) -> None:
        """Keep count of steps without a finite loss or gradient; the third in a row ends the run.

        Raises `DivergedError`.
        """
        if result.applied:
            self.bad_steps = 0
            return
        self.bad_steps += 1
        train, run, n = self.config.train, self.keeper.run, len(self.rows)
        indices = batch_indices(n * self.forms, train.batch_size, train.seed, step, self.rows.blocks) % n
        entry = {
            "step": step,
            "loss": repr(result.loss),
            "grad_norm": repr(result.grad_norm),
            "batch": indices.tolist(),
        }
        self.keeper.note("bad_steps.jsonl", json.dumps(entry))
        self.keeper.log(
            f"warning: step {step} had loss {result.loss} and gradient norm {result.grad_norm}: not applied."
        )
        if self.bad_steps > BAD_STEPS_ALLOWED:
            good = list_checkpoints(run)
            where = f"The last good checkpoint is {good[-1][1]}." if good else "There is no checkpoint yet."
            rate = f"{self.config.optim.lr / 3:.1g}"
            raise DivergedError(
                f"Training diverged: {self.bad_steps} steps in a row up to step {step} had no finite loss or "
                f"gradient. {where} Their batches are listed in {run / 'bad_steps.jsonl'}. "
                f"Begin anew, in another folder (--out) or over this one (--fresh), with a smaller learning rate "
                f"(--optim.lr {rate}) or with --train.precision fp32."
            ).mended_by(Mend(add=("--optim.lr", rate, *elsewhere(run).add)))

    def log(self, step: int, images: int, result: StepResult) -> bool:
        """Gather the result of a step, the last of `step`; return whether a line of metrics was due and written."""
        self.window.append([result.loss, result.grad_norm])
        if step % self.config.train.log_every:
            return False
        losses, norms = zip(*self.window, strict=True)
        self.window = []
        self.keeper.metrics.metrics(
            step,
            images=images,
            loss=math.fsum(losses) / len(losses),
            grad_norm=math.fsum(norms) / len(norms),
            lr=result.lr,
        )
        return True
