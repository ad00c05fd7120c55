"""Evaluates samples of pictures against a data set: distances, coverage, colours, classes and memorisation.

The reference is a random subset of the training images, as large as the set of samples. It is keyed by the seed, so
that all runs on the same data have the same reference. Each metric is shown beside its floor, which is the same metric
for as many real held-out images in the place of the samples. A model can be better than the floor only by luck or by
memory. Colours are compared with training and held-out images together and have gates as well
(`gendi.data.images.colour`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from gendi.data.dataset import Data
from gendi.data.images.choose_extractors import Named, choose_extractors
from gendi.data.images.class_metrics import Drawn, class_metrics, in_words, reader_of, seen_in_real
from gendi.data.images.colour import colour_metrics
from gendi.data.images.extractors import Extractor
from gendi.data.images.feature_metrics import feature_metrics
from gendi.data.images.latent_floor import Restore, reconstruction_metric, restored_metrics
from gendi.diffusion.randomness import stream
from gendi.errors import DataError, UsageError
from gendi.evaluate import intervals
from gendi.evaluate.clock import Clock
from gendi.evaluate.memorisation import copy_checks, memorisation
from gendi.evaluate.result import (
    Estimate,
    Evaluation,
    ExtractorRecord,
    MemorisationRecord,
    Metric,
)
from gendi.machine.distributed import team
from gendi.machine.stopping import Poll


def evaluate(
    samples: np.ndarray,
    data: Data,
    *,
    extractor: Named | Sequence[Named] = "auto",
    n: int = 1000,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "cpu",
    ema: bool | None = None,
    mirrored: bool = False,
    fid_infinity: bool = False,
    asked: Sequence[int] | np.ndarray | None = None,
    free: np.ndarray | None = None,
    restore: Restore | None = None,
    source: Mapping[str, Any] | None = None,
    poll: Poll | None = None,
) -> Evaluation:
    """Evaluate the first `n` samples against `n` training images, with held-out images as the floor.

    Several processes share the features and the sums of the Fréchet distance; the first process computes the rest.

    Args:
        samples: uint8 (N, H, W), or (N, H, W, C) with the height, width and channels of `data`.
        data: the data that the samples should look like; see `gendi.data.open_data`.
        extractor: one or several of `digits`, `inception`, `learned`, `pixels`, or extractors of your own; what `auto`
            is, `gendi.data.images.choose_extractors` says.
        n: how many samples to use; if there are fewer, all are used, with a note.
        seed: the seed of the subsets of training and held-out images.
        batch_size: images per call of a feature network (default: the extractor's).
        device: where feature networks run.
        ema: whether the samples come from averaged weights; this is only recorded.
        mirrored: whether mirror images of training images count as copies too, as they do for models trained with
            flips.
        fid_infinity: whether to extrapolate the Fréchet distance to infinitely many samples too (see
            `gendi.evaluate.infinity`).
        asked: the class that each sample was asked to be, -1 for none; see `gendi.data.images.class_metrics`.
        free: further samples of the same model that were drawn without a class; the shares of the classes are theirs.
        restore: encodes and decodes pictures as the autoencoder of the model does; what that costs is then measured
            too (`gendi.data.images.latent_floor`).
        source: anything else to record about the samples, as values that JSON can hold.
        poll: called between batches; raise from it to stop.

    Raises:
        UsageError: n < 2, an unknown extractor, or one that does not fit the images.
        DataError: samples of another dtype, rank or shape than the data's images.
    """
    images = team().first_before_others(lambda: checked_samples(samples, data))
    if n < 2:
        raise UsageError(f"n = {n} is out of range: a set of images needs at least 2.")
    if seed < 0:
        raise UsageError(f"seed = {seed} is out of range: it must be 0 or more.")
    notes: list[str] = []
    if len(images) < n:
        notes.append(f"There are {len(images)} samples, fewer than the {n} requested; n = {len(images)}.")
    images = images[:n]
    n = len(images)
    (reference, *_) = _deals(len(data.train), n, seed, "evaluation reference")
    deals = _deals(len(data.heldout), n, seed, "evaluation floor")
    floor = deals[0]
    for name, indices in (("training", reference), ("held-out", floor)):
        if len(indices) < n:
            notes.append(
                f"There are only {len(indices)} {name} images for {n} samples. Most metrics depend on the size of "
                "the sets, so values and floors are not quite on one scale."
            )
    clock = Clock()
    found: list[Metric] = []
    records: list[ExtractorRecord] = []
    with clock("extractors"):
        chosen, said = choose_extractors(extractor, data, batch_size, device, n=n, seed=seed, poll=poll)
    notes += said
    restored = None
    if restore is not None and len(floor):
        with clock("autoencoder"):
            unseen = data.heldout.batch(floor)
            restored = team().from_first(lambda: restore(unseen))
            found.append(reconstruction_metric(unseen, restored))
    for each in chosen:
        with clock(each.name):
            record, measured, said = feature_metrics(each, images, data, reference, deals, seed, fid_infinity, poll)
            if restored is not None:
                fid = next((metric for metric in measured if metric.name == f"fid-{each.name}"), None)
                measured += restored_metrics(each, restored, data, reference, fid, poll)
        records.append(record)
        found += measured
        notes += said
    classes = None
    with clock("classifier"):
        reader = reader_of(data, _names(extractor), poll)
    if reader is not None:
        drawn = Drawn(_asked(asked, n), None if free is None else checked_samples(free, data))
        with clock("classes"):
            real = seen_in_real(reader, data, seed, poll)
            classes, measured = team().from_first(lambda: class_metrics(reader, images, data, real, drawn, seed, poll))
        found += measured
        notes += in_words(classes, n)
    with clock("colours"):
        found += team().from_first(lambda: colour_metrics(images, data, seed=seed, poll=poll))
    with clock("memorisation"):
        copies, measured = team().from_first(lambda: _memorisation_metrics(images, data, floor, mirrored, seed, poll))
    found += measured
    return Evaluation(
        n=n,
        seed=seed,
        data=data.name,
        fingerprint=data.fingerprint,
        reference_split="train",
        reference_n=len(reference),
        floor_split="heldout",
        floor_n=len(floor),
        extractors=tuple(records),
        metrics=tuple(found),
        classes=classes,
        memorisation=copies,
        ema=ema,
        source=dict(source or {}),
        notes=tuple(notes),
        seconds=clock.seconds,
    )


def load_samples(path: Path) -> np.ndarray:
    """Read samples from an .npz (array `samples`) or a .npy file. Raises `DataError` saying what is wrong with it."""
    from gendi.data.images.arrays import load_npy, load_npz

    if not path.is_file():
        raise DataError(f"There is no file {path}. `gendi sample RUN --out samples.npz` writes one.")
    if path.suffix not in (".npy", ".npz"):
        raise DataError(
            f"{path} is neither .npy nor .npz: samples are read from an array of bytes (N, H, W) or (N, H, W, C)."
        )
    return (load_npz if path.suffix == ".npz" else load_npy)(path).rows[:]


def checked_samples(samples: np.ndarray, data: Data) -> UInt8[np.ndarray, "n height width channels"]:
    """Return samples as (N, H, W, C).

    Raises `DataError` if their dtype or shape differ from those of the data, `UsageError` if there are fewer than two.
    """
    shape = data.train.rows.shape[1:]
    wanted = f"{shape[0]}x{shape[1]} with {shape[2]} channel(s)"
    if samples.dtype != np.uint8:
        raise DataError(
            f"The samples are {samples.dtype}; metrics see bytes. Convert them to uint8, 0 to 255, with rounding."
        )
    if samples.ndim not in (3, 4):
        raise DataError(f"The samples have shape {samples.shape}; (N, H, W) or (N, H, W, C) is wanted.")
    images = samples[..., None] if samples.ndim == 3 else samples
    if images.shape[1:] != shape:
        height, width, channels = images.shape[1:]
        raise DataError(
            f"The samples are {height}x{width} with {channels} channel(s), the images of {data.spec} {wanted}. "
            "Compare them with the data they were trained on, read at the same size."
        )
    if len(images) < 2:
        raise UsageError(f"There are {len(images)} samples; a set of images needs at least 2 to be measured.")
    return images


def _names(extractor: Named | Sequence[Named]) -> list[str]:
    several = [extractor] if isinstance(extractor, str | Extractor) else extractor
    return [each if isinstance(each, str) else each.name for each in several]


def _asked(asked: Sequence[int] | np.ndarray | None, n: int) -> Int64[np.ndarray, " n"] | None:
    if asked is None:
        return None
    if len(asked) < n:
        raise UsageError(f"{len(asked)} classes were given for {n} samples: give one for each, -1 for none.")
    return np.asarray(asked, np.int64)[:n]


def _memorisation_metrics(
    images: np.ndarray,
    data: Data,
    floor: Int64[np.ndarray, " m"],
    mirrored: bool,
    seed: int,
    poll: Poll | None,
) -> tuple[MemorisationRecord | None, list[Metric]]:
    if not len(floor):
        return None, []
    found = memorisation(images, data.train.rows, data.heldout.batch(floor), mirrored=mirrored, poll=poll)
    record = MemorisationRecord(
        neighbours=tuple(int(i) for i in found.neighbour),
        distances=tuple(round(float(d), 6) for d in found.distance),
        threshold=found.threshold,
        median=float(np.median(found.distance)),
        heldout_median=float(np.median(found.heldout_distance)),
    )
    ratio, unseen = (
        intervals.of_median(distances / record.heldout_median) if record.heldout_median > 0 else Estimate(None)
        for distances in (found.distance, found.heldout_distance)
    )
    copies, others = (
        intervals.of_share(share, len(distances))
        for share, distances in (
            (found.near_copies, found.distance),
            (found.heldout_near_copies, found.heldout_distance),
        )
    )
    checks = copy_checks(found.distance, found.heldout_distance, copies.value, seed)
    usual = unseen._replace(value=1.0)
    ratio_check = checks.get("nearest-train-ratio")
    return record, [
        Metric.of("nearest-train-ratio", ratio, usual, "closest", ideal=1.0, check=ratio_check),
        Metric.of("near-copies", copies, others, "lower", check=checks["near-copies"]),
    ]


def _deals(size: int, n: int, seed: int, purpose: str) -> list[Int64[np.ndarray, " m"]]:
    """Return as many disjoint sets of n indices as there are in range(size), or one set of all if n is more.

    The indices are sorted, so that memory-mapped images are read in order.
    """
    order = stream(seed, purpose).permutation(size).astype(np.int64)
    return [np.sort(order[start : start + n]) for start in range(0, max(size - n, 0) + 1, n)]
