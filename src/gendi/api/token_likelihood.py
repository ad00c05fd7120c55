"""Bits per letter of models of sequences, from Python."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gendi.api.held_out import held_out_rows, is_own_data
from gendi.data import Data, open_data
from gendi.data.sequences.codec import SequenceCodec
from gendi.diffusion.conditions import requested_conditions, to_tensor
from gendi.diffusion.discrete.bound import TokenBound, variational_bound
from gendi.errors import DataError, UsageError
from gendi.evaluate.intervals import measured
from gendi.evaluate.result import Estimate
from gendi.machine.stopping import Poll
from gendi.train.kept.bundle import Bundle, load_bundle


@dataclass(frozen=True)
class SequenceBound:
    """An upper bound on the code length of sequences.

    Args:
        bound: nats of each sequence.
        letters: (N,), how many letters each has.
        steps: T of the chain; None for continuous time.
        draws: terms that were computed for each sequence.
    """

    bound: TokenBound
    letters: NDArray[np.int64]

    @property
    def nats(self) -> float:
        """Mean nats of a sequence, its end included."""
        return self.bound.nats

    @property
    def nats_error(self) -> float:
        """Standard error of `nats`, over sequences and draws."""
        return self.bound.error

    @property
    def bits(self) -> float:
        """Bits per letter: those of all sequences, over their letters."""
        return float(self.bound.values.sum()) / max(int(self.letters.sum()), 1) / math.log(2)

    @property
    def bits_error(self) -> float:
        """Standard error of `bits`, that of a ratio of means."""
        values = self.bound.values.numpy() / math.log(2)
        rest = values - self.bits * self.letters
        if len(rest) < 2:
            return math.nan
        return float(rest.std(ddof=1)) / math.sqrt(len(rest)) / max(float(self.letters.mean()), 1e-300)

    @property
    def estimate(self) -> Estimate:
        """`bits` with `bits_error` and the interval of 95%."""
        return measured(self.bits, self.bits_error if math.isfinite(self.bits_error) else None, least=0.0)

    @property
    def parts(self) -> tuple[float, ...]:
        """Bits per letter that each quarter of the noise levels costs, from least to most noise; they sum to `bits`."""
        total = self.bound.parts.sum(0) / max(int(self.letters.sum()), 1) / math.log(2)
        return tuple(total.tolist())

    def __repr__(self) -> str:
        return (
            f"SequenceBound({self.bits:.4f} ± {self.bits_error:.4f} bits per letter of {len(self.letters):,} sequences)"
        )


def bits_per_letter(
    model: Bundle | str | Path,
    data: Data | str | NDArray[Any] | None = None,
    *,
    n: int = 1000,
    steps: int | None = None,
    draws: int | None = 50,
    condition: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    batch_size: int = 250,
    poll: Poll | None = None,
) -> SequenceBound:
    """Return how many bits per letter a model needs for sequences, an upper bound.

    Args:
        model: a bundle, or the folder of a run or bundle.
        data: what to measure: of a data set n of its held-out sequences (the model's own by default), or texts.
        n: how many sequences.
        steps: steps of the chain; the model's own T, or the limit of many steps in continuous time, by default.
        draws: terms per sequence; None computes all of a chain, or one for each number of masks.
        condition: the conditions of a conditional model, as for `sample`; of its own data theirs, of others null, by
            default.
        seed: the seed of which sequences, and of every draw.
        device, batch_size, poll: where, how many at a time, and what is called after every call and raises to stop.

    Raises:
        UsageError: n below 1, conditions that do not fit, or a model that draws no sequences.
        DataError: sequences of another alphabet, or longer than the model's.
    """
    if n < 1:
        raise UsageError(f"n = {n} is out of range: it must be 1 or more.")
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    codec = sequences_only(bundle)
    rows, own = _rows(bundle, codec, data, n, seed)
    cond = requested_conditions(bundle.config.conditions, condition, len(rows)) if condition else own
    denoiser = bundle.denoiser(device)
    denoiser.precision = "fp32"
    found = variational_bound(
        denoiser,
        torch.from_numpy(rows.astype(np.int64)).to("cpu" if device == "mps" else device),  # MPS has no float64
        steps=steps,
        draws=draws,
        seed=seed,
        cond=cond,
        batch_size=batch_size,
        poll=poll,
    )
    return SequenceBound(found, codec.letters(rows))


def sequences_only(bundle: Bundle) -> SequenceCodec:
    """Return the codec of a model of sequences. Raises `UsageError` for another model."""
    if not isinstance(bundle.codec, SequenceCodec):
        raise UsageError(f"bits per letter are for sequences, and this model draws {bundle.codec.description}.")
    return bundle.codec


def fitting(bundle: Bundle, data: Data) -> Data:
    """Return `data` if a model can be asked about them. Raises `DataError` if not, with the reason."""
    if why := sequences_only(bundle).mismatch(data.fitted):
        raise DataError(f"{data.name} is not for this model: {why}")
    return data


def _rows(
    bundle: Bundle, codec: SequenceCodec, data: Data | str | NDArray[Any] | None, n: int, seed: int
) -> tuple[NDArray[Any], dict[str, torch.Tensor]]:
    """Return tokens (n, L), and their conditions."""
    if isinstance(data, np.ndarray):
        try:
            return codec.rows([str(text) for text in data[:n]]), {}
        except ValueError as error:
            raise DataError(f"a sequence cannot be measured: {error}.") from None
    data = data or bundle.meta.get("data_spec")
    if data is None:
        raise UsageError("the model does not say what it was trained on: give the path of the data.")
    opened = fitting(bundle, open_data(data) if isinstance(data, str) else data)
    rows = held_out_rows(opened, n, seed)
    specs = bundle.config.conditions if is_own_data(bundle, opened) else ()
    cond = {spec.name: to_tensor(spec, opened.heldout.conditions[spec.name][rows]) for spec in specs}
    return opened.heldout.batch(rows), cond
