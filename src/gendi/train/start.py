"""Starting from the weights of another run: what is taken along, and what refuses to fit.

The averaged weights of the source become the weights, and the average, of the new run. Rows of classes are matched by
name; new classes and new conditions start anew (`gendi.diffusion.networks.transfer`). Where data are encoded by a codec
that was fitted, the source's codec comes along if the data fit it. From then on nothing of the source is read again:
config.toml says where the run began and with which weights, and checkpoints hold the rest.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from gendi.data import Data
from gendi.data.codec import Codec
from gendi.data.vectors import training_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.transfer import Transfer, transferred
from gendi.errors import UsageError
from gendi.storage.safe_tensors import tensor_chunks
from gendi.storage.toml import read_toml
from gendi.train.bundle import Bundle, load_bundle
from gendi.train.config import RunConfig
from gendi.train.inherit import recorded_start
from gendi.train.resume import differing

IN_MEMORY = "a model in memory"
FREE = ("dropout",)
"""Options of a network that do not change what its weights mean."""


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Args:
        place: the folder of the source, as it was given.
        sha256: of its averaged weights.
        sigma_data: the root mean square of its encoded training data, which its weights have to do with.
        conditions: those of the source; of a run that goes on, its own.
        bundle: the source; None if the run goes on and has no more need of it.
    """

    place: str
    sha256: str
    sigma_data: float
    conditions: tuple[ConditionConfig, ...] = ()
    bundle: Bundle | None = None

    def record(self) -> dict[str, str | float]:
        """Return what config.toml says of it."""
        return {"from": self.place, "sha256": self.sha256, "sigma_data": self.sigma_data}


def read_start(source: str | Path | Bundle) -> Start:
    """Return the start from a run, a bundle or a model in memory. Raises as `load_bundle` does."""
    bundle = source if isinstance(source, Bundle) else load_bundle(source)
    place = IN_MEMORY if isinstance(source, Bundle) else str(source)
    return Start(place, digest(bundle.state), bundle.sigma_data, bundle.config.conditions, bundle)


def digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights, as a file of them has it."""
    found = hashlib.sha256()
    for chunk in tensor_chunks(state):
        found.update(chunk)
    return found.hexdigest()


def start_of(run: Path, source: str | Path | Bundle | None, going_on: bool, fresh: bool = False) -> Start | None:
    """Return where a run begins, or began.

    Args:
        run: its folder.
        source: what to start from now; None for nothing.
        going_on: whether the folder holds a run that goes on from a checkpoint.
        fresh: whether the folder is started over.

    Raises:
        UsageError: a run that goes on began elsewhere; or there is no such source.
        BundleError: the source is damaged.
    """
    begun = None if fresh else recorded_start(run)
    if not going_on:  # stopped before its first checkpoint, a run begins once more where it began
        source = begun["from"] if source is None and begun is not None else source
        return None if source is None else read_start(source)
    mend = (
        "Leave --from out to go on, choose another folder (--out) to begin a second run, or give --fresh to start this "
        "one over."
    )
    if begun is None:
        if source is not None:
            raise UsageError(
                f"{run} holds a run that began with new weights: it cannot start from {_place(source)} any more. {mend}"
            )
        return None
    own = RunConfig.from_dict(read_toml(run / "config.toml").get("config", {})).conditions
    start = Start(str(begun["from"]), str(begun.get("sha256")), float(begun["sigma_data"]), own)
    same = source is None or (not isinstance(source, Bundle) and str(source) == start.place)
    if source is not None and not same and read_start(source).sha256 != start.sha256:
        raise UsageError(
            f"{run} holds a run that began with the weights of {start.place}; those of {_place(source)} are others. "
            f"{mend}"
        )
    return start


def _place(source: str | Path | Bundle) -> str:
    return IN_MEMORY if isinstance(source, Bundle) else str(source)


def check_kind(start: Start | None, data: Data) -> None:
    """Raise `UsageError` if the data are of another kind than those that the weights of `start` are for."""
    if start is None or start.bundle is None:
        return
    kind = start.bundle.codec.kind.partition("-")[0]
    if kind != data.kind:
        raise UsageError(
            f"{start.place} is a model of the kind {kind}, and {data.name} is data of the kind {data.kind}."
        )


def check_start(start: Start | None, config: RunConfig, data: Data) -> None:
    """Raise `UsageError` if data or configuration are not such that the weights of `start` can be meant for them.

    `config` has its conditions resolved.
    """
    if start is None or start.bundle is None:
        return
    bundle, source = start.bundle, start.bundle.config
    ours, theirs = (_meaning(c) for c in (config, source))
    if changed := differing(ours, theirs):
        raise UsageError(
            f"The weights of {start.place} are of another network than this configuration's: "
            f"{'; '.join(changed.values())}. Leave these options out: a run takes them from where it starts."
        )
    if data.codec is None:
        why = bundle.codec.misfit(data.schema, config.conditions, source.conditions)
        if why:
            raise UsageError(
                f"{data.name} does not fit the codec of {start.place}, in whose space its weights work: {why} Train on "
                "such data without --from."
            )


def as_before(config: RunConfig, start: Start | None) -> RunConfig:
    """Return `config`, its conditions resolved, with the numbers of the source's conditions standardised as there."""
    before = {(spec.name, spec.kind, spec.size): spec for spec in (() if start is None else start.conditions)}
    found = []
    for spec in config.conditions:
        old = before.get((spec.name, spec.kind, spec.size))
        found.append(spec if old is None else dataclasses.replace(spec, mean=old.mean, std=old.std))
    return dataclasses.replace(config, conditions=tuple(found))


def _meaning(config: RunConfig) -> dict[str, object]:
    """Return the options that decide what weights mean."""
    network = {name: value for name, value in dataclasses.asdict(config.network).items() if name not in FREE}
    return {"network": network, "objective": dataclasses.asdict(config.objective.parameterisation)}


def codec_of(start: Start, config: RunConfig, data: Data) -> Codec | None:
    """Return the codec that comes along, with the conditions of the new training rows; None if the data have one."""
    bundle = start.bundle
    if data.codec is not None or bundle is None:
        return None
    return bundle.codec.for_rows(training_conditions(config.conditions, data.train.conditions))


def adopt(network: nn.Module, start: Start, config: RunConfig) -> Transfer:
    """Give an untrained network the weights of `start`; return what became of each tensor.

    Raises `UsageError` naming the tensors whose shapes differ.
    """
    assert start.bundle is not None
    unit = config.network.patch**2
    found = transferred(network, start.bundle.state, start.bundle.config.conditions, unit)
    if found.problems:
        raise UsageError(
            f"The weights of {start.place} do not fit this network: {found.problem()}. Data of the same number of "
            "channels or columns are needed, and the network of the source."
        )
    network.load_state_dict(found.state)
    return found
