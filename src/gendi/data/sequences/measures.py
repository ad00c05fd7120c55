"""What is measured of sets of sequences: rows of tokens (n, L), all of one codec.

    length          total variation of the distributions of length
    composition     total variation of the shares of letters
    kmers-k         total variation of the shares of the k letters that follow one another
    marginals       mean over positions of the total variation of the distributions of the token there
    pairs           mean over pairs of positions of the difference of their mutual information, in nats
    auc-forest      can a forest tell samples from held-out rows? 0.5 means never
    copies          share of samples that are training sequences, letter by letter
    closer          share of the others whose nearest training sequence is nearer than their nearest held-out one

Distances to the nearest are numbers of positions at which rows differ.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from gendi.data.sequences.codec import SequenceCodec
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError
from gendi.evaluate.vectors.two_sample import Verdict, two_sample
from gendi.machine.stopping import Poll, may_stop

KS = (2, 3)
BUCKETS = 1 << 17
"""The most different k letters that are told apart; beyond, they share places."""
PAIRS = 300
FEATURES_MOST = 4000

Tokens = Int64[np.ndarray, "n length"]
Weights = Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Rows:
    """Rows of tokens, with what is counted in them."""

    tokens: Tokens
    codec: SequenceCodec

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, index: Int64[np.ndarray, " m"]) -> "Rows":
        """Return some rows."""
        return Rows(self.tokens[index], self.codec)

    @cached_property
    def lengths(self) -> Int64[np.ndarray, " n"]:
        """How many letters each row has."""
        return self.codec.letters(self.tokens)

    @cached_property
    def _counted(self) -> dict[int, Any]:
        return {}

    def counts(self, k: int) -> Any:
        """Return how often each row has each k letters, a sparse matrix (n, places)."""
        if k not in self._counted:
            self._counted[k] = self._count(k)
        return self._counted[k]

    def _count(self, k: int) -> Any:
        from scipy.sparse import csr_array

        letters = len(self.codec.alphabet)
        width = self.tokens.shape[1] - k + 1
        places = min(letters**k, BUCKETS)
        if width < 1:
            return csr_array((len(self), places))
        code = sum(self.tokens[:, j : j + width] * letters ** (k - 1 - j) for j in range(k)) % places
        there = np.arange(width)[None] + k <= self.lengths[:, None]
        row = np.broadcast_to(np.arange(len(self))[:, None], code.shape)[there]
        return csr_array((np.ones(len(row)), (row, code[there])), shape=(len(self), places))

    def features(self) -> np.ndarray:
        """Return what a judge sees of each row: tokens by place, and pairs of neighbours; (n, d) float32."""
        n, length = self.tokens.shape
        tokens = self.codec.count
        parts = [self.counts(1).toarray()]
        if length * tokens <= FEATURES_MOST:
            parts.append(np.eye(tokens, dtype=np.float32)[self.tokens].reshape(n, -1))
        if len(self.codec.alphabet) ** 2 <= FEATURES_MOST:
            parts.append(self.counts(2).toarray())
        return np.asarray(np.concatenate(parts, axis=1), np.float32)


def shares(rows: Rows, k: int, weights: Weights) -> np.ndarray:
    """Return the shares of k letters among all of them, in rows with weights."""
    total = np.asarray(rows.counts(k).T @ weights)
    return np.asarray(total / max(total.sum(), 1e-300))


def lengths(rows: Rows, weights: Weights) -> np.ndarray:
    """Return the shares of the lengths 0 .. L."""
    return np.bincount(rows.lengths, weights=weights, minlength=rows.tokens.shape[1] + 1)


def marginals(rows: Rows, weights: Weights) -> np.ndarray:
    """Return the distribution of the token at each position, (L, K)."""
    tokens = rows.codec.count
    return np.array([np.bincount(column, weights=weights, minlength=tokens) for column in rows.tokens.T])


def information(rows: Rows, weights: Weights, pairs: np.ndarray) -> np.ndarray:
    """Return the mutual information of pairs (m, 2) of positions, (m,) nats."""
    tokens = rows.codec.count
    law, found = marginals(rows, weights), np.zeros(len(pairs))
    for m, (i, j) in enumerate(pairs):
        joint = np.bincount(rows.tokens[:, i] * tokens + rows.tokens[:, j], weights=weights, minlength=tokens**2)
        apart = np.outer(law[i], law[j]).reshape(-1)
        there = joint > 0
        found[m] = float((joint[there] * np.log(joint[there] / apart[there])).sum())
    return found


def pairs_of(length: int, seed: int) -> np.ndarray:
    """Return pairs (m, 2) of positions: all of them, or some hundreds with the neighbours among them."""
    upper = np.stack(np.triu_indices(length, 1), axis=1)
    if len(upper) <= PAIRS:
        return upper
    near = np.flatnonzero(upper[:, 1] - upper[:, 0] <= 2)
    rng = stream(seed, "sequence pairs")
    chosen = np.union1d(rng.permutation(near)[: PAIRS // 2], rng.permutation(len(upper))[: PAIRS // 2])
    return np.asarray(upper[chosen])


def compared(x: Rows, y: Rows, seed: int, weights: Weights | None = None) -> dict[str, float]:
    """Return the distances of x, with weights, to y, by name; those that make no sense for these rows are left out."""
    w = np.full(len(x), 1 / len(x)) if weights is None else weights
    v = np.full(len(y), 1 / len(y))
    found = {}
    if x.codec.ends:
        found["length"] = _variation(lengths(x, w), lengths(y, v))
    found["composition"] = _variation(shares(x, 1, w), shares(y, 1, v))
    for k in KS:
        if x.tokens.shape[1] >= k:
            found[f"kmers-{k}"] = _variation(shares(x, k, w), shares(y, k, v))
    found["marginals"] = float(np.abs(marginals(x, w) - marginals(y, v)).sum(axis=1).mean() / 2)
    tokens = x.codec.count
    if x.tokens.shape[1] > 1 and tokens <= 64:
        pairs = pairs_of(x.tokens.shape[1], seed)
        found["pairs"] = float(np.abs(information(x, w, pairs) - information(y, v, pairs)).mean())
    return found


def _variation(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.abs(p - q).sum() / 2)


def judged(x: Rows, y: Rows, seed: int) -> Verdict | None:
    """Return a forest's verdict on x against y; None where there are too few different rows for one."""
    try:
        return two_sample(x.features(), y.features(), "forest", seed)
    except UsageError:
        return None


def nearest(x: Tokens, records: Int64[np.ndarray, "m length"], poll: Poll | None = None) -> Int64[np.ndarray, " n"]:
    """Return for each row of x the least number of positions at which it differs from one of the records."""
    found = np.full(len(x), x.shape[1] + 1, np.int64)
    for start in range(0, len(records), 256):
        may_stop(poll)
        block = records[start : start + 256]
        for i in range(0, len(x), 256):
            differing = (x[i : i + 256, None, :] != block[None]).sum(-1)
            found[i : i + 256] = np.minimum(found[i : i + 256], differing.min(axis=1))
    return found


def closer(x: Rows, train: Rows, heldout: Rows, poll: Poll | None = None) -> Float64[np.ndarray, " n"]:
    """Return for each row 1 where the nearest training row is nearer than the nearest held-out one, 0.5 on a tie.

    Raises `UsageError` unless both sets are equally large.
    """
    if len(train) != len(heldout):
        raise UsageError(f"{len(train)} training rows against {len(heldout)} held-out ones: give equally many of both.")
    a, b = nearest(x.tokens, train.tokens, poll), nearest(x.tokens, heldout.tokens, poll)
    return np.where(a == b, 0.5, (a < b).astype(np.float64))


def copies(x: Rows, known: frozenset[bytes]) -> Float64[np.ndarray, " n"]:
    """Return for each row whether its digest is among the known ones."""
    return np.array([row.tobytes() in known for row in x.tokens.astype(np.int32)], np.float64)


def known_rows(rows: Rows) -> frozenset[bytes]:
    """Return what `copies` knows rows by."""
    return frozenset(row.tobytes() for row in rows.tokens.astype(np.int32))
