"""One training run in memory: network, optimisers, average, and one step.

A step is a function of (configuration, data, step index) and of the tensors that a checkpoint holds. Nothing else is
remembered, so going on from a checkpoint is exact.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from gendi.data import Data
from gendi.data.kinds import kind_of
from gendi.data.order import batch_indices
from gendi.data.row_conditions import as_seen, derived, raw
from gendi.diffusion.conditions import drop
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser, make_denoiser
from gendi.diffusion.gaussian.objectives.simple import denoising_loss
from gendi.diffusion.gaussian.objectives.times import LossHistory, draw_times
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.diffusion.gaussian.schedule.learned import ScheduleLearner
from gendi.diffusion.networks import network_of
from gendi.diffusion.randomness import normal, stream
from gendi.errors import UsageError, is_out_of_memory
from gendi.machine.distributed import team
from gendi.train.checkpoint import Checkpoint, match_layout
from gendi.train.config import RunConfig
from gendi.train.ema import EMA
from gendi.train.optim import learning_rate_factor, make_optimizers
from gendi.train.posthoc_ema import PowerAverages
from gendi.train.probe import Choice, choose, place
from gendi.train.resolve import prepared, resolve, root_mean_square
from gendi.train.sharding import gathered, number, part_of, shard


@dataclass(frozen=True)
class StepResult:
    """What a step did. `applied` is False when loss or gradient were not finite and the weights were left alone."""

    loss: float
    grad_norm: float
    lr: float
    applied: bool


class Trainer:
    """Everything a step needs.

    Raises:
        UsageError, DataError: the data have not what the configuration's conditions need.
    """

    def __init__(self, config: RunConfig, data: Data, choice: Choice | None = None) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # a process may train more than once
        self.accelerator = Accelerator()
        self.team = team()
        self.device = self.accelerator.device
        config = resolve(config, data)
        if config.train.batch_size < self.team.size:
            raise UsageError(
                f"train.batch_size = {config.train.batch_size} cannot be shared by {self.team.size} processes: each "
                "needs at least one row of a batch. Start fewer, or give a larger --batch-size."
            )
        if config.train.accumulate == 0 and self.team.size > 1:
            raise UsageError(
                f"--batch-size auto (train.accumulate = 0) is for one process, and there are {self.team.size}: when "
                "one runs out of memory, the others wait for it in the middle of a step. Say in how many parts a "
                "process goes through its rows: --train.accumulate 4."
            )
        data = prepared(config, data)
        self.config, self.data = config, data
        self.sigma_data = root_mean_square(data, config.conditions)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(config.train.seed, "init").integers(2**63)))
            network = network_of(self.config, data.fitted.shape)
        train = config.train
        self.shares = self.team.shares(train.batch_size)
        self.share = self.shares[self.team.rank]
        self.parts = max(1, train.accumulate)
        rows = self.shares[0].stop
        self.sharded = train.shard and self.team.size > 1
        self.choice = choice or self.team.from_first(lambda: self._choose(network, rows))
        if self.sharded:
            self.choice = dataclasses.replace(self.choice, layout="contiguous")
            shard(network, self.device, self.team.size)
        else:
            place(network, self.device, self.choice.layout)
        self.network = network
        low, high = config.objective.log_snr_min, config.objective.log_snr_max
        learned = config.process.schedule == "learned"
        self.learner = ScheduleLearner(low, high, self.device) if learned else None
        self.averaged: DistributedDataParallel | None = None
        if self.team.size > 1 and not self.sharded:  # accelerate would wrap it on GPUs alone
            self.averaged = DistributedDataParallel(network, gradient_as_bucket_view=True)
        self.denoiser = self._denoiser(self.averaged or network)
        self.optimizers = make_optimizers(network, config.optim, self.team)
        self.ema = EMA(network, config.optim.ema_images)
        self.power = PowerAverages(network) if config.optim.posthoc_every else None
        steps = config.process.steps
        self.history = LossHistory(steps) if config.objective.time_sampling == "loss-aware" and steps else None
        self.step_count = 0
        whole = isinstance(data.train.rows, np.ndarray) and data.train.rows.nbytes < 8 * 2**30
        self.keeps_rows_on_device = self.device.type != "cpu" and whole
        if self.keeps_rows_on_device:
            self._rows = torch.from_numpy(np.ascontiguousarray(data.train.rows)).to(self.device)

    @property
    def images_seen(self) -> int:
        """Images trained on so far, repeats counted."""
        return self.step_count * self.config.train.batch_size

    def _choose(self, network: torch.nn.Module, rows: int) -> Choice:
        train = self.config.train
        precision, layout = train.precision, "contiguous" if self.sharded else train.layout
        if self.sharded and precision == "auto" and self.device.type != "cpu":
            precision = "bf16"  # the whole network may not fit there to be timed
        return choose(network, self.data.fitted.shape, rows, self.device, precision, layout)

    def _denoiser(self, network: torch.nn.Module) -> NetworkDenoiser:
        config = self.config
        return make_denoiser(
            network,
            self._schedule(),
            config.objective,
            self.sigma_data,
            config.network.time_input,
            precision=self.choice.precision,
        )

    def _schedule(self) -> Schedule:
        process = self.config.process
        return make_schedule(process.schedule, process.steps) if self.learner is None else self.learner.schedule

    def sampling_schedule(self) -> Schedule:
        """Return the schedule to sample under: of a learned one its present table."""
        return self._schedule() if self.learner is None else self.learner.schedule.tabulated()

    def learned_table(self) -> Tensor | None:
        """Return the log-SNRs (K,) of a learned schedule at present, for the bundle; None of any other."""
        return None if self.learner is None else self.learner.schedule.tabulated().levels

    def average(self) -> dict[str, Tensor]:
        """Return the averaged weights, whole; sharded ones in the first process alone, once all of them call this."""
        return self._whole({"ema": self.ema.weights})["ema"]

    def power_averages(self) -> list[dict[str, Tensor]]:
        """Return the power-function averages, whole in the same way."""
        return list(self._whole(self.power.tensors()).values()) if self.power is not None else []

    def _whole(self, groups: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        if not self.sharded:
            return groups
        return {group: gathered(named, keep=self.team.first) for group, named in groups.items()}

    def ema_denoiser(self, clip: float | None = None, weights: dict[str, Tensor] | None = None) -> NetworkDenoiser:
        """Return a denoiser with a copy of the averaged weights, in evaluation mode; `weights` are `average()`."""
        with torch.random.fork_rng(devices=[]):
            network = network_of(self.config, self.data.fitted.shape)
        network.load_state_dict(self.average() if weights is None else weights)
        place(network, self.device, self.choice.layout)
        denoiser = self._denoiser(network.eval().requires_grad_(False)).eval()
        denoiser.clip = clip
        return denoiser

    def batch(self, step: int, part: slice = slice(None)) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the rows x_0 (B, ...) of a step in model space and what is told of them, some of it null.

        `part` says which rows of the step's batch, all by default.
        """
        config = self.config
        size, seed = config.train.batch_size, config.train.seed
        indices = batch_indices(len(self.data.train), size, seed, step, self.data.train.blocks)[part]
        index = torch.from_numpy(indices).to(self.device)
        if self.keeps_rows_on_device:
            rows = self._rows[index]
        else:
            rows = torch.from_numpy(self.data.train.batch(indices)).to(self.device)
        rows, cond = self._augmented(rows, raw(config.conditions, self.data.train, indices), step, part)
        cond = as_seen(config.conditions, cond, self.device)
        x_0 = self.data.encode(rows, cond, index)
        cond |= derived(self.data, config.conditions, x_0)
        for spec in config.conditions:
            dropped = stream(seed, f"{spec.name} dropped", step).random(size)[part] < spec.dropout
            cond[spec.name] = drop(cond[spec.name], torch.from_numpy(dropped).to(self.device))
        return x_0, cond

    def _augmented(
        self, rows: Tensor, cond: dict[str, Tensor], step: int, part: slice
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return raw rows and raw conditions as this step sees them."""
        train, kind = self.config.train, kind_of(self.data.kind)
        if self.data.encoded:
            return rows, cond
        draws: dict[str, Any] = {"seed": train.seed, "step": step, "batch_size": train.batch_size, "part": part}
        return kind.augment(rows, cond, flip=train.flip, crop=train.crop, **draws)

    def step(self, progress: float) -> StepResult:
        """Do the next step at `progress` in [0, 1] of the budget."""
        config, step = self.config, self.step_count
        size, seed = config.train.batch_size, config.train.seed
        self.network.train()
        t = draw_times(config.objective, self.denoiser.schedule, size, seed, step, self.history).to(self.device)
        losses = self.team.join_rows(self._gradients(step, t), self.shares)
        loss = (losses if self.history is None else losses * self.history.weights(t).to(losses)).mean()
        clip = config.optim.clip or math.inf
        norm = number(self.accelerator.clip_grad_norm_(self.network.parameters(), clip))
        value, lr = float(loss), config.optim.lr * learning_rate_factor(progress, config.optim)
        applied = math.isfinite(value) and math.isfinite(norm)
        for optimizer in self.optimizers:
            if applied:
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step_count += 1
        if self.power is not None:  # weights that a step left alone are weights at that time all the same
            self.power.update(self.network, size)
        if applied:
            self.ema.update(self.network, self.images_seen, size)
            if self.history is not None:
                self.history.update(t, losses)
            if self.learner is not None:
                self.learner.update(t, losses, lr)
        return StepResult(value, norm, lr, applied)

    def _gradients(self, step: int, t: Tensor) -> Tensor:
        """Leave the gradient of this process's rows with the network, and return their losses.

        With `train.accumulate` 0 a batch that memory does not hold is gone through again, from its beginning and in
        twice as many parts, down to single rows: nothing but the gradient, which is cleared, has been touched.
        """
        while True:
            try:
                return torch.cat([self._backward(step, part, t) for part in parts(self.share, self.parts)])
            except (RuntimeError, MemoryError) as error:
                last = self.config.train.accumulate > 0 or self.parts >= self.share.stop - self.share.start
                if last or not is_out_of_memory(error):
                    raise
            self.network.zero_grad(set_to_none=True)  # here, where the error no longer holds on to the activations
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.parts = min(2 * self.parts, self.share.stop - self.share.start)

    def _backward(self, step: int, part: slice, t: Tensor) -> Tensor:
        """Add the gradient of the mean loss of a batch that comes from its rows `part`; return their losses (b,).

        Processes are averaged over when the last part of each is done: so each sums over its rows and divides by
        the rows of an average process.
        """
        config, size, seed = self.config, self.config.train.batch_size, self.config.train.seed
        whole = part == slice(0, size)
        x_0, cond = self.batch(step, slice(None) if whole else part)
        eps = normal((size, *x_0.shape[1:]), seed, "noise", step)[part].to(self.device)
        wait: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self.averaged is not None and part.stop < self.share.stop:
            wait = self.averaged.no_sync()
        with wait, torch.random.fork_rng(devices=[], enabled=config.network.dropout > 0):
            if config.network.dropout > 0:
                torch.manual_seed(int(stream(seed, "dropout", step, part.start).integers(2**63)))
            losses = denoising_loss(self.denoiser, x_0, t[part], eps, cond, self.data.fitted.half_bin)
            weighed = losses if self.history is None else losses * self.history.weights(t[part]).to(losses)
            self.accelerator.backward(weighed.mean() if whole else weighed.sum() * (self.team.size / size))
        return losses.detach()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return what a checkpoint holds, by parameter name. Sharded tensors are gathered: see `average`."""
        names = {id(p): name for name, p in self.network.named_parameters()}
        optimizer = {
            f"{names[id(p)]}:{key}": value if isinstance(value, Tensor) else torch.tensor(value)
            for optimizer in self.optimizers
            for p, state in optimizer.state.items()
            for key, value in state.items()
        }
        tensors = {"model": dict(self.network.state_dict()), "ema": dict(self.ema.weights), "optimizer": optimizer}
        if self.power is not None:
            tensors |= self.power.tensors()
        if self.history is not None:
            tensors["losses"] = self.history.tensors()
        if self.learner is not None:
            tensors["schedule"] = self.learner.tensors()
        return self._whole(tensors)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take weights, average, optimiser state, history of losses and learned schedule from a checkpoint, exactly."""
        model, average = checkpoint.tensors["model"], checkpoint.tensors["ema"]
        self.network.load_state_dict({k: part_of(model[k], v) for k, v in self.network.state_dict().items()})
        self.ema.weights = {k: match_layout(average[k], v) for k, v in self.ema.weights.items()}
        states: dict[str, dict[str, Tensor]] = {}
        for name, value in checkpoint.tensors["optimizer"].items():
            parameter, key = name.rsplit(":", 1)
            states.setdefault(parameter, {})[key] = value
        names = {id(p): name for name, p in self.network.named_parameters()}
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    for key, value in states.get(names[id(p)], {}).items():
                        same = value.shape == p.shape
                        optimizer.state[p][key] = match_layout(value, p) if same else value.clone()
        if self.history is not None:
            self.history.restore(checkpoint.tensors.get("losses", {}))
        if self.learner is not None:
            self.learner.restore(checkpoint.tensors.get("schedule", {}))
        self.step_count = checkpoint.step
        if self.power is not None:
            self.power.restore(checkpoint.tensors, self.images_seen)


def parts(share: slice, count: int) -> Iterator[slice]:
    """Yield `count` slices that cover `share` in order, as even as can be; fewer where it has fewer rows."""
    rows, count = share.stop - share.start, min(count, share.stop - share.start)
    for i in range(count):
        yield slice(share.start + rows * i // count, share.start + rows * (i + 1) // count)
