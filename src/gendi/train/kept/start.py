"""Starting a run from the weights of another run: what is taken from the source, and which checks it must pass.

The averaged weights of the source become the weights, and the average, of the new run. Rows of classes are matched by
name; new classes and new conditions start anew (`gendi.diffusion.networks.transfer`). If the codec of the source was
fitted to data, it is used for the new data, which must fit it. After the start the source is not read again:
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
from gendi.errors import Mend, UsageError
from gendi.storage.safe_tensors import tensor_chunks
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.folders import elsewhere
from gendi.train.kept.resume import differing
from gendi.train.kept.stored import stored_config, stored_start
from gendi.train.weights.model import conditions_of

IN_MEMORY = "a model in memory"
FREE = ("dropout",)
"""The options of a network that do not change the meaning of its weights."""


@dataclass(frozen=True)
class Start:
    """The source of the weights with which a run begins.

    Args:
        place: the folder of the source, as the user gave it.
        sha256: the SHA-256 of the averaged weights of the source.
        sigma_data: the root mean square of the encoded training data of the source, on which its weights depend.
        conditions: the conditions of the source; for a run that is resumed, its own.
        bundle: the source; None if the run is resumed, since it does not need the source any more.
    """

    place: str
    sha256: str
    sigma_data: float
    conditions: tuple[ConditionConfig, ...] = ()
    bundle: Bundle | None = None

    def record(self) -> dict[str, str | float]:
        """Return the fields of config.toml that describe the start."""
        return {"from": self.place, "sha256": self.sha256, "sigma_data": self.sigma_data}


def read_start(source: str | Path | Bundle) -> Start:
    """Return the start from a run, a bundle or a model in memory. Raises the errors of `load_bundle`."""
    bundle = source if isinstance(source, Bundle) else load_bundle(source)
    place = IN_MEMORY if isinstance(source, Bundle) else str(source)
    return Start(place, digest(bundle.state), bundle.sigma_data, bundle.config.conditions, bundle)


def digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 that a file of these weights would have."""
    found = hashlib.sha256()
    for chunk in tensor_chunks(state):
        found.update(chunk)
    return found.hexdigest()


def start_of(run: Path, source: str | Path | Bundle | None, going_on: bool, fresh: bool = False) -> Start | None:
    """Return where the weights of a run come from; None if they are new.

    Args:
        run: the folder of the run.
        source: the source that is given now; None if none is given.
        going_on: whether the folder holds a run that is resumed from a checkpoint.
        fresh: whether the folder is started over.

    Raises:
        UsageError: a run that is resumed began from another source; or there is no such source.
        BundleError: the source is damaged.
    """
    begun = None if fresh else stored_start(run)
    if not going_on:  # a run that stopped before its first checkpoint begins again from the same source
        source = begun["from"] if source is None and begun is not None else source
        return None if source is None else read_start(source)
    words = (
        "Leave --from out to go on, choose another folder (--out) to begin a second run, or give --fresh to start this "
        "one over."
    )
    mends = Mend(drop=("--from",)), elsewhere(run)
    if begun is None:
        if source is not None:
            raise UsageError(
                f"{run} holds a run that began with new weights: it cannot start from {_place(source)} any more. "
                f"{words}"
            ).mended_by(*mends)
        return None
    own = stored_config(run).conditions
    start = Start(str(begun["from"]), str(begun.get("sha256")), float(begun["sigma_data"]), own)
    same = source is None or (not isinstance(source, Bundle) and str(source) == start.place)
    if source is not None and not same and read_start(source).sha256 != start.sha256:
        raise UsageError(
            f"{run} holds a run that began with the weights of {start.place}; {_place(source)} has other weights. "
            f"{words}"
        ).mended_by(*mends)
    return start


def _place(source: str | Path | Bundle) -> str:
    return IN_MEMORY if isinstance(source, Bundle) else str(source)


def check_kind(start: Start | None, data: Data) -> None:
    """Raise `UsageError` if the weights of `start` are for another kind of data."""
    if start is None or start.bundle is None:
        return
    kind = start.bundle.codec.kind.partition("-")[0]
    if kind != data.kind:
        raise UsageError(
            f"{start.place} is a model of the kind {kind}, and {data.name} is data of the kind {data.kind}."
        )


def check_start(start: Start | None, config: RunConfig, data: Data) -> None:
    """Raise `UsageError` if the weights of `start` do not suit the data or the configuration.

    The conditions of `config` must be resolved.
    """
    if start is None or start.bundle is None:
        return
    bundle, source = start.bundle, start.bundle.config
    if data.codec is not None and (why := bundle.codec.mismatch(data.codec)):
        raise UsageError(f"{data.name} does not fit the weights of {start.place}: {why}")
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
    """Return `config`, whose conditions must be resolved, with the means and standard deviations of the source.

    Numbers among the conditions are thus standardised as in the training of the source.
    """
    before = {(spec.name, spec.kind, spec.size): spec for spec in (() if start is None else start.conditions)}
    found = []
    for spec in config.conditions:
        old = before.get((spec.name, spec.kind, spec.size))
        found.append(spec if old is None else dataclasses.replace(spec, mean=old.mean, std=old.std))
    return dataclasses.replace(config, conditions=tuple(found))


def _meaning(config: RunConfig) -> dict[str, object]:
    """Return the options that decide the meaning of weights."""
    network = {name: value for name, value in dataclasses.asdict(config.network).items() if name not in FREE}
    output = dataclasses.replace(config.objective.parameterisation, flow_map=False)
    tokens = {"process": config.tokens.process, "vocabulary": config.tokens.vocabulary}
    return {"network": network, "objective": dataclasses.asdict(output), "tokens": tokens}


def codec_of(start: Start, config: RunConfig, data: Data) -> Codec | None:
    """Return the codec of the source for the new training rows; None if the data have a codec of their own."""
    bundle = start.bundle
    if data.codec is not None or bundle is None:
        return None
    return bundle.codec.for_rows(training_conditions(config.conditions, data.train.conditions))


def adopt(network: nn.Module, start: Start, config: RunConfig) -> Transfer:
    """Load the weights of `start` into an untrained network, and return the result of the transfer.

    Raises `UsageError` naming the tensors whose shapes differ.
    """
    assert start.bundle is not None
    unit = config.network.patch**2
    found = transferred(network, start.bundle.state, conditions_of(start.bundle.config), unit)
    if found.problems:
        raise UsageError(
            f"The weights of {start.place} do not fit this network: {found.problem()}. Data of the same number of "
            "channels or columns are needed, and the network of the source."
        )
    network.load_state_dict(found.state)
    return found
