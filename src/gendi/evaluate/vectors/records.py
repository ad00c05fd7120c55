"""Are the samples new? Exact copies of training rows, and whether each sample is nearer to training or held-out rows.

The share of samples nearer to a training row than to any of equally many held-out rows is one half for a model that
generalises, and 1 for one that repeats its training rows.  [Distance to closest record; Platzer and Reutterer 2021]
"""

import hashlib

import numpy as np
from jaxtyping import Bool, Float64, Num

from gendi.errors import UsageError
from gendi.evaluate.metrics import Features, squared_distances

Raw = Num[np.ndarray, "_ _"]


def row_digests(rows: Raw) -> np.ndarray:
    """Return a 16-byte digest of each row (n,).

    Rows with equal numbers have equal digests, whatever their dtype; but -0 is not equal to 0 here.
    """
    exact = (np.ascontiguousarray(row, np.float64).tobytes() for row in rows)
    return np.array([hashlib.blake2b(row, digest_size=16).digest() for row in exact], "V16")


def copies(digests: np.ndarray, known: np.ndarray) -> Bool[np.ndarray, " _"]:
    """Return for each row whether its digest is among the known ones."""
    there = {bytes(digest) for digest in known}
    return np.array([bytes(digest) in there for digest in digests], bool)


def nearest_distance(x: Features, records: Features) -> Float64[np.ndarray, " _"]:
    """Return the distance of each row to the nearest of the records.

    The search uses products; the distance to the nearest record is then computed anew, so it is exactly 0 for a copy.
    """
    nearest = np.concatenate([squared.argmin(axis=1) for _, squared in squared_distances(x, records)])
    return np.asarray(np.linalg.norm(x - records[nearest], axis=1), np.float64)


def closer(x: Features, train: Features, heldout: Features) -> Float64[np.ndarray, " _"]:
    """Return for each row 1 where its closest record is a training row, 0 where it is held out, 0.5 on a tie.

    Raises `UsageError` unless both sets are equally large: a larger set is nearer by its size alone.
    """
    if len(train) != len(heldout):
        raise UsageError(f"{len(train)} training rows against {len(heldout)} held-out ones: give equally many of both.")
    a, b = nearest_distance(x, train), nearest_distance(x, heldout)
    return np.where(a == b, 0.5, (a < b).astype(np.float64))
