"""The snapshots in a run's folder, and models from them: see `gendi.train.weights.posthoc_ema`.

    RUN/ema/images_000001000000/    a snapshot of the tracked averages, written while training
    RUN/ema/length_0.05/            the bundle of an average that was reconstructed afterwards

Snapshots are written before the checkpoint of their time. A run that goes on from a checkpoint deletes later ones.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gendi.errors import UsageError
from gendi.storage.folders import discard_folder
from gendi.train.kept.as_flags import train_command
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.folders import UNFINISHED
from gendi.train.kept.stored import stored_tables
from gendi.train.weights.posthoc_ema import gamma_to_sigma_rel, list_snapshots, reconstruct, sigma_rel_to_gamma

NO_LONGER = ("metrics", "seconds", UNFINISHED)
"""The fields of a bundle's meta that hold only for the run's own average."""


def drop_later(run: Path, images: int) -> int:
    """Delete the snapshots taken after `images`, which training will write again; return how many were deleted.

    They cannot be kept: with a budget in seconds, training would not write the same ones.
    """
    names = ((path, path.name.removeprefix("images_")) for path in sorted((run / "ema").glob("images_*")))
    later = [path for path, digits in names if digits.isdigit() and int(digits) > images]
    for path in later:
        discard_folder(path)
    return len(later)


def reconstruct_ema(run: str | Path, sigma_rel: float, images: int | None = None) -> Bundle:
    """Return a run's model with weights averaged over the length `sigma_rel`: a profile's deviation over its time.

    Its `meta["posthoc_ema"]` has the length, the relative error of the profile, and the snapshots that were used.

    Args:
        run: the folder of a finished run that was trained with `optim.posthoc_every`.
        sigma_rel: the length, above 0 and up to 0.2887. The lengths 0.05 and 0.10 were tracked and are exact.
        images: the time of the average, in images seen, when a snapshot was taken; by default that of the last one.

    Raises:
        UsageError: sigma_rel out of range, no run, no snapshots, none at `images`, or too few for this sigma_rel.
        BundleError: a damaged bundle or snapshot, which the error names.
    """
    run, gamma = Path(run), sigma_rel_to_gamma(sigma_rel)
    bundle = load_bundle(run)
    found = list_snapshots(run)
    if not found:
        raise UsageError(
            f"{run} has no snapshots from which an average can be computed. Train with them, into another folder: "
            f"{_training_with_snapshots(run, bundle)}"
        )
    expected = {name: (tuple(value.shape), torch.float32) for name, value in bundle.state.items()}
    state, error = reconstruct(run, sigma_rel, images, expected)
    time = max(profile.images for profile in found) if images is None else images
    about: dict[str, Any] = {
        "sigma_rel": sigma_rel,
        "gamma": gamma,
        "images": time,
        "relative_error": error,
        "snapshots": [
            {"images": p.images, "sigma_rel": gamma_to_sigma_rel(p.gamma)} for p in found if p.images <= time
        ],
    }
    meta = {key: value for key, value in bundle.meta.items() if key not in NO_LONGER}
    meta |= {"images": time, "step": time // bundle.config.train.batch_size, "posthoc_ema": about}
    return replace(bundle, state=state, meta=meta, sha256=None)


def _training_with_snapshots(run: Path, bundle: Bundle) -> str:
    """Return the command that trains as a run was trained, and takes snapshots on the way."""
    tables = stored_tables(run) if (run / "config.toml").is_file() else {}
    config = replace(bundle.config, optim=replace(bundle.config.optim, posthoc_every=50_000))
    size = tables.get("data", {}).get("size")
    words = train_command(bundle.meta.get("data_spec"), config, size, tables.get("budget"), f"{run}-ema")
    return " ".join(words)
