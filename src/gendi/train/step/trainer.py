"""One training run in memory: network, objective, optimisers, averages, and one step.

A step depends only on the configuration, the data, the index of the step, and the tensors that a checkpoint holds. So a
run that is resumed from a checkpoint continues exactly.
"""

import contextlib
import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from gendi.data import Data
from gendi.data.kinds import kind_of
from gendi.data.order import batch_indices
from gendi.data.row_conditions import as_seen, derived, raw
from gendi.diffusion.conditions import drop
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.randomness import stream
from gendi.diffusion.trained import Trained
from gendi.errors import UsageError
from gendi.machine.distributed import Team, team
from gendi.machine.hardware import training_device
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import Checkpoint, match_layout
from gendi.train.kept.start import Start, adopt
from gendi.train.step.optim import (
    learning_rate_factor,
    make_optimizers,
    optimizer_tensors,
    restore_optimizers,
    update_weights,
)
from gendi.train.step.parts import Parts, parts, refuse_shares
from gendi.train.step.probe import FLOPS, Choice, choose, options_of, place
from gendi.train.step.recompute import recompute
from gendi.train.step.resolve import count_bytes, prepared, resolve, root_mean_square, smallest_scale, training_rows
from gendi.train.step.second import SecondNetwork
from gendi.train.step.smoothing import Smoothing
from gendi.train.step.workers import summed_gradients
from gendi.train.weights.ema import EMA
from gendi.train.weights.model import (
    denoiser_of,
    mean_of,
    network_of,
    objective_of,
    posterior_of,
    run_cost,
    shares_of,
)
from gendi.train.weights.posthoc_ema import PowerAverages
from gendi.train.weights.sharding import gathered, number, part_of, shard


@dataclass(frozen=True)
class StepResult:
    """The result of a step. `applied` is False if the weights stayed, since loss or gradient were not finite."""

    loss: float
    grad_norm: float
    lr: float
    applied: bool


class Trainer:
    """Everything that a step needs.

    Args:
        config: the configuration of the run.
        data: the data to learn from.
        choice: precision and memory layout; by default they are chosen by timing a few steps.
        start: where the weights come from; by default they are new.

    Raises:
        UsageError: the data lack a condition of the configuration.
        DataError: the data do not fit a condition of the configuration.
    """

    def __init__(self, config: RunConfig, data: Data, choice: Choice | None = None, start: Start | None = None) -> None:
        self.team = team()
        self.device = training_device(self.team.size)
        config = resolve(config, data)
        refuse_shares(config, self.team, self.device)
        data = prepared(config, data)
        self.config, self.data = config, data
        rows = functools.partial(training_rows, data, config.conditions)
        self.smoothing = Smoothing(data, config.train.smoothing, config.train.seed, rows)
        self.start = start
        self.sigma_data = root_mean_square(data, config.conditions) if start is None else start.sigma_data
        self.smallest_scale = smallest_scale(data, config.conditions)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(config.train.seed, "init").integers(2**63)))
            network = network_of(config, data.fitted.shape)
        if start is None:
            count_bytes(network, data, config.conditions)
        self.new_parts = () if start is None or start.bundle is None else adopt(network, start, config).new
        """The conditions and classes whose weights start anew, while the other weights come from `start`."""
        whole = isinstance(data.train.rows, np.ndarray) and data.train.rows.nbytes < 8 * 2**30
        self.keeps_rows_on_device = self.device.type != "cpu" and whole
        if self.keeps_rows_on_device:
            self._rows = torch.from_numpy(np.ascontiguousarray(data.train.rows)).to(self.device)
        self.step_count = 0
        self._share(self.team)
        self.sharded = config.train.shard and self.team.size > 1
        choice = choice or self.team.from_first(lambda: self._choose(network))
        if self.team.size > 1:
            choice = dataclasses.replace(choice, workers=1, layout="contiguous" if self.sharded else choice.layout)
        self._assemble(network, choice)

    def _share(self, team: Team) -> None:
        """Divide each batch among the processes of `team`."""
        self.team, train = team, self.config.train
        self.shares = team.shares(train.batch_size)
        self.parts = Parts(self.shares[team.rank], train.accumulate)

    def _assemble(self, network: torch.nn.Module, choice: Choice) -> None:
        """Put the network on the device as `choice` says, with an objective, optimisers and averages of its own."""
        config, self.choice, self.network = self.config, choice, network
        if config.train.recompute:
            recompute(network, dropout=config.network.dropout > 0)
        if self.sharded:
            shard(network, self.device, self.team.size)
        else:
            place(network, self.device, choice.layout)
        if config.train.compile:
            network.compile(dynamic=False)
        self.averaged: DistributedDataParallel | None = None
        if self.team.size > 1 and not self.sharded:
            self.averaged = DistributedDataParallel(network, gradient_as_bucket_view=True)
        new = self.start is None
        teacher = None if new else functools.partial(self._teacher, network)
        learner = None if new else functools.partial(self._learner, network)
        half_bin = self.data.fitted.half_bin
        self.objective = objective_of(config, half_bin, self.device, self.sigma_data, teacher, learner)
        self.denoiser = self._denoiser(self.averaged or network)
        self.optimizers = make_optimizers(network, config.optim, self.team, choice.muon)
        self.ema = EMA(network, config.optim.ema_images)
        self.power = PowerAverages(network) if config.optim.posthoc_every else None

    @property
    def images_seen(self) -> int:
        """The number of images trained on so far, where an image counts each time it is seen."""
        return self.step_count * self.config.train.batch_size

    def _choose(self, network: torch.nn.Module) -> Choice:
        """Return the fastest choice, by steps of copies of this trainer on a batch of its share, or a part of it."""
        config, shape = self.config, self.data.fitted.shape
        if self.sharded:
            train = dataclasses.replace(config.train, layout="contiguous")
            if train.precision == "auto" and self.device.type != "cpu":
                train = dataclasses.replace(train, precision="bf16")  # a network too large for the device is not timed
            config = dataclasses.replace(config, train=train)
        share = self.parts.rows
        rows = max(1, min(share, int(FLOPS / (3 * max(1, run_cost(config, shape).flops)))))
        options = options_of(config, shape, self.device, rows, self.team.size)
        trial = functools.partial(self._trial, network, rows)
        return choose(options, trial, rows, compiled=config.train.compile)

    def _trial(self, network: torch.nn.Module, rows: int, choice: Choice) -> Callable[[], None]:
        """Return a function that does a whole step on `rows` rows as `choice` says, on a copy of this trainer."""
        trial = copy.copy(self)
        train = dataclasses.replace(self.config.train, batch_size=rows, accumulate=1)
        trial.config = dataclasses.replace(self.config, train=train)
        trial.sharded = False
        trial._share(Team())
        trial._assemble(copy.deepcopy(network), choice)

        def step() -> None:
            trial.step(0.0)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

        return step

    def _teacher(self, network: torch.nn.Module, schedule: Schedule) -> NetworkDenoiser:
        """Return a frozen copy of `network`, with its weights of this moment, as a denoiser."""
        made = self._copy(network, schedule).eval()
        made.network.requires_grad_(False)
        return made

    def _learner(
        self, network: torch.nn.Module, schedule: Schedule, told: tuple[ConditionConfig, ...]
    ) -> SecondNetwork:
        """Return a copy of `network` that learns by optimisers of its own, and is `told` more, without effect yet."""
        made, optim = self._copy(network, schedule, told).train(), self.config.optim
        return SecondNetwork(made, make_optimizers(made.network, optim, self.team, self.choice.muon), optim, self.team)

    def _copy(
        self, network: torch.nn.Module, schedule: Schedule, told: tuple[ConditionConfig, ...] = ()
    ) -> NetworkDenoiser:
        if self.sharded:
            raise UsageError("train.shard does not go with a teacher, which every process needs whole: leave it out.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(self.config.train.seed, "told").integers(2**63)))
            copied = network_of(self.config, self.data.fitted.shape, told)
        copied.load_state_dict(copied.state_dict() | network.state_dict())
        place(copied, self.device, self.choice.layout)
        return mean_of(self.config, copied, schedule, self.sigma_data, **self._meaning())

    def _denoiser(self, network: torch.nn.Module) -> Trained:
        return denoiser_of(self.config, network, self.objective.schedule, self.sigma_data, **self._meaning())

    def _meaning(self) -> dict[str, Any]:
        """Return the options of a denoiser of this run."""
        return {"precision": self.choice.precision, **posterior_of(self.config, self.data.fitted, self.device)}

    # --- a step ----------------------------------------------------------------------------------------------------

    def step(self, progress: float) -> StepResult:
        """Do the next step, with `progress` in [0, 1] as the share of the budget that is spent."""
        config, objective, step, size = self.config, self.objective, self.step_count, self.config.train.batch_size
        self.network.train()
        objective.begin(progress, self.ema.weights)
        draw = objective.draw(size, config.train.seed, step)

        def weighed(x_0: Tensor, cond: dict[str, Tensor], part: slice) -> tuple[Tensor, Tensor]:
            losses = objective.losses(self.denoiser, x_0, cond, draw, part)
            emphasised = objective.emphasised(losses)
            return self._mean(objective.weighed(emphasised, draw, part)), losses.detach()

        def backward(part: slice) -> Tensor:
            if self.choice.workers > 1:
                shares = list(parts(part, self.choice.workers))
                works = [functools.partial(weighed, *self.batch(step, share), share) for share in shares]
                return torch.cat(summed_gradients(works, self.network))
            x_0, cond = self.batch(step, part)
            with self._only_this(part, step):
                loss, losses = weighed(x_0, cond, part)
                loss.backward()  # type: ignore[no-untyped-call]
            return losses

        losses = self.team.join_rows(self.parts.through(backward, self._forget_gradients), self.shares)
        loss = float(objective.weighed(losses, draw).mean())
        norm = number(clip_grad_norm_(self.network.parameters(), config.optim.clip or math.inf))
        lr = config.optim.lr * learning_rate_factor(progress, config.optim)
        applied = math.isfinite(loss) and math.isfinite(norm)
        update_weights(self.optimizers, lr if applied else None)
        self.step_count += 1
        if self.power is not None:  # the average also counts a step that did not change the weights
            self.power.update(self.network, size)
        if applied:
            self.ema.update(self.network, self.images_seen, size)
            objective.remember(draw, losses, lr)
        return StepResult(loss, norm, lr, applied)

    def batch(self, step: int, part: slice = slice(None)) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the rows x_0 (B, ...) of a step in model space, and their conditions, some of which are set to null.

        `part` selects rows of the batch of the step; by default all of them.
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
        x_0 = self.smoothing(self.data.encode(rows, cond, index), step, part, size)
        cond |= derived(self.data, config.conditions, x_0)
        for spec in config.conditions:
            dropped = stream(seed, f"{spec.name} dropped", step).random(size)[part] < spec.dropout
            cond[spec.name] = drop(cond[spec.name], torch.from_numpy(dropped).to(self.device))
        return x_0, cond

    def _augmented(
        self, rows: Tensor, cond: dict[str, Tensor], step: int, part: slice
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return raw rows and raw conditions as this step sees them; rows in model space are returned unchanged."""
        train, kind = self.config.train, kind_of(self.data.kind)
        if self.data.encoded:
            return rows, cond
        draws: dict[str, Any] = {"seed": train.seed, "step": step, "batch_size": train.batch_size, "part": part}
        return kind.augment(rows, cond, flip=train.flip, crop=train.crop, **draws)

    @contextlib.contextmanager
    def _only_this(self, part: slice, step: int) -> Iterator[None]:
        """Key the dropout by the part of the batch, and average gradients over processes only after the last part."""
        dropout = self.config.network.dropout > 0
        with contextlib.ExitStack() as held:
            if self.averaged is not None and part.stop < self.parts.share.stop:
                held.enter_context(self.averaged.no_sync())
            held.enter_context(torch.random.fork_rng(devices=[], enabled=dropout))
            if dropout:
                torch.manual_seed(int(stream(self.config.train.seed, "dropout", step, part.start).integers(2**63)))
            yield

    def _mean(self, losses: Tensor) -> Tensor:
        """Return the contribution of a part's losses (b,) to the mean over the batch.

        Gradients are averaged over the processes when each has done its last part. So each process sums over its rows
        and divides by the rows that a process has on average.
        """
        size = self.config.train.batch_size
        return losses.mean() if len(losses) == size else losses.sum() * (self.team.size / size)

    def _forget_gradients(self) -> None:
        """Clear the gradient after a batch that did not fit in memory; nothing else has been changed."""
        self.network.zero_grad(set_to_none=True)
        self.objective.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # --- the averages --- ---------------------------------------------------------------------------------------

    def average(self) -> dict[str, Tensor]:
        """Return the averaged weights, whole. All processes must call this; if sharded, only the first gets them."""
        return self._whole({"ema": self.ema.weights})["ema"]

    def power_averages(self) -> list[dict[str, Tensor]]:
        """Return the power-function averages, whole, in the same way as `average`."""
        return list(self._whole(self.power.tensors()).values()) if self.power is not None else []

    def _whole(self, groups: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        if not self.sharded:
            return groups
        return {group: gathered(named, keep=self.team.first) for group, named in groups.items()}

    def ema_denoiser(self, clip: float | None = None, weights: dict[str, Tensor] | None = None) -> Trained:
        """Return a denoiser with a copy of the averaged weights, in evaluation mode; `weights` is `average()`."""
        with torch.random.fork_rng(devices=[]):
            network = network_of(self.config, self.data.fitted.shape)
        network.load_state_dict(self.average() if weights is None else weights)
        place(network, self.device, self.choice.layout)
        denoiser = self._denoiser(network.eval().requires_grad_(False)).eval()
        denoiser.clip = clip
        denoiser.shares = shares_of(self.config, network, self.data.fitted.shape, self.device)
        return denoiser

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensors of a checkpoint by parameter name. Sharded tensors are gathered, as `average` does it."""
        tensors = {
            "model": dict(self.network.state_dict()),
            "ema": dict(self.ema.weights),
            "optimizer": optimizer_tensors(self.network, self.optimizers),
        }
        if self.power is not None:
            tensors |= self.power.tensors()
        return self._whole(tensors | self.objective.tensors())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the weights, the averages, and the states of the optimisers and the objective from a checkpoint."""
        model, average = checkpoint.tensors["model"], checkpoint.tensors["ema"]
        self.network.load_state_dict({k: part_of(model[k], v) for k, v in self.network.state_dict().items()})
        self.ema.weights = {k: match_layout(average[k], v) for k, v in self.ema.weights.items()}
        restore_optimizers(self.network, self.optimizers, checkpoint.tensors["optimizer"])
        self.objective.restore(checkpoint.tensors)
        self.step_count = checkpoint.step
        if self.power is not None:
            self.power.restore(checkpoint.tensors, self.images_seen)
