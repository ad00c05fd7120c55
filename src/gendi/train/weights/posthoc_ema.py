"""Post-hoc EMA: averages of any length, reconstructed after training from snapshots of two averages.

The power-function average at time t (in images seen) of weights theta is

    theta_gamma(t) = (gamma + 1) / t^(gamma + 1) integral_0^t tau^gamma theta(tau) dtau          [section 3.1]

Its profile has the standard deviation sigma_rel t, which grows with the length of the run, where

    sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)).

After a step of b images, when t images were seen, the average is updated by

    theta_gamma <- lerp(theta, theta_gamma, beta),      beta = (1 - b / t)^(gamma + 1),

which is exact for weights that are constant during a step. Snapshots of two such averages span a space of profiles. The
weighted sum of snapshots whose profile is nearest to a requested one, in least squares, gives the requested average
[section 3.2, appendix C].

That is well posed only at the time of a snapshot. A profile that ends at T is highest there, and no snapshot of T0 < T
has seen the weights in between: the misfit is at least sqrt(1 - (T0 / T)^(2 gamma + 1)), the coefficients no longer sum
to 1, and the weights shrink towards 0. Snapshots after T do not help, because none of their profiles ends at T. For the
same reason a length that the snapshots can only follow badly is refused (`WORST`).

The sections are those of Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models".

The files of a snapshot are

    RUN/ema/images_000001000000/{average_0,average_1}.safetensors, snapshot.json, MANIFEST.json
"""

import bisect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gendi.errors import BundleError, UsageError
from gendi.storage.files import encode_json, read_json, verify_manifest
from gendi.storage.folders import replace_folder
from gendi.storage.record import RunRecord
from gendi.storage.safe_tensors import TensorSpec, read_tensors, specs, tensor_bytes, tensor_chunks
from gendi.train.weights.lengths import check_length
from gendi.train.weights.sharding import part_of

SIGMA_RELS = (0.05, 0.10)  # section 3.2
WORST = 0.5
"""The largest relative misfit of a profile that `reconstruct` accepts: beyond it the weights are noise."""
FORMAT = 1
_NAME = re.compile(r"images_(\d{12,15})")


@dataclass(frozen=True, order=True)
class Profile:
    """A power-function average with the exponent `gamma`, taken when `images` images were seen."""

    images: int
    gamma: float


# ------------------------------------------------------------------------------------------------ the profiles


def gamma_to_sigma_rel(gamma: float) -> float:
    """Return sigma_rel, the profile's standard deviation divided by its time.  [section 3.1]

    Raises `UsageError` for gamma < 0.
    """
    if not 0 <= gamma < math.inf:
        raise UsageError(f"the exponent of a power-function average is at least 0; got {gamma:g}.")
    return math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def sigma_rel_to_gamma(sigma_rel: float) -> float:
    """Return the exponent gamma, the largest root g of (g + 2)^2 (g + 3) = (g + 1) / sigma_rel^2.  [appendix C]

    Raises `UsageError` unless 0 < sigma_rel <= 0.2887.
    """
    check_length(sigma_rel, f"sigma_rel = {sigma_rel:g}")
    ratio = sigma_rel**-2
    return max(0.0, float(np.roots([1.0, 7.0, 16.0 - ratio, 12.0 - ratio]).real.max()))


def power_decay(images: int, batch: int, gamma: float) -> float:
    """Return beta = (1 - batch / images)^(gamma + 1) for a step of `batch` images that ends at `images`.  [section 3.1]

    It is 0 in the first step, after which the average equals the weights. Raises `UsageError` unless
    1 <= batch <= images.
    """
    if not 1 <= batch <= images:
        raise UsageError(f"a step has at least 1 image and at most all that were seen; got {batch} of {images}.")
    return math.pow(1 - batch / images, gamma + 1)


def inner_product(a: Profile, b: Profile) -> float:
    """Return the integral of the product of two profiles, per image.  [appendix C]"""
    early, late = sorted((a, b))
    scale = (a.gamma + 1) * (b.gamma + 1) / (a.gamma + b.gamma + 1)
    return scale * math.pow(early.images / late.images, late.gamma) / late.images


def solve_weights(snapshots: Sequence[Profile], target: Profile) -> tuple[list[float], float]:
    """Return the weight of each snapshot, and the relative distance between the profile of their sum and the target's.

    The weights solve a least-squares problem over the snapshots that are no later than the target; later ones have
    weight 0. If the target is itself a snapshot, its weight is 1 and the distance 0. Raises `UsageError` if all
    snapshots are later than the target, or two are the same.
    """
    if len(set(snapshots)) != len(snapshots):
        raise UsageError("two snapshots are the same average at the same time.")
    use = [i for i, snapshot in enumerate(snapshots) if snapshot.images <= target.images]
    if not use:
        raise UsageError(f"no snapshot was taken in the first {target.images} images: nothing to put together.")
    weights = np.zeros(len(snapshots))
    norm = inner_product(target, target)
    # profiles are scaled to unit length: the Gram matrix has 1 on its diagonal; its smallest eigenvalues are round-off
    size = np.array([math.sqrt(inner_product(snapshots[i], snapshots[i]) / norm) for i in use])
    gram = np.array([[inner_product(snapshots[i], snapshots[j]) for j in use] for i in use]) / norm
    gram /= np.outer(size, size)
    right = np.array([inner_product(snapshots[i], target) for i in use]) / norm / size
    solution = np.linalg.lstsq(gram, right, rcond=1e-14)[0]
    if target in snapshots:
        solution = np.array([float(snapshots[i] == target) * s for i, s in zip(use, size, strict=True)])
    left = 1 - 2 * solution @ right + solution @ gram @ solution
    weights[use] = solution / size
    return weights.tolist(), math.sqrt(max(0.0, float(left)))


# ------------------------------------------------------------------------------------------------ while training


class PowerAverages:
    """Power-function averages of a network's parameters and buffers, kept in float32 and updated after every step.

    `images` and `averages` are the whole state: after they are restored, training goes on bit for bit.
    """

    def __init__(self, network: nn.Module, sigma_rels: Sequence[float] = SIGMA_RELS) -> None:
        self.gammas = [sigma_rel_to_gamma(sigma_rel) for sigma_rel in sigma_rels]
        if len(set(self.gammas)) != len(self.gammas) or not self.gammas:
            raise UsageError(f"the averages must differ and be at least one; got sigma_rel {tuple(sigma_rels)}.")
        self.images = 0
        self.averages = [{k: v.detach().float().clone() for k, v in network.state_dict().items()} for _ in self.gammas]

    @torch.no_grad()
    def update(self, network: nn.Module, batch: int) -> None:
        """Update the averages with the weights after a step of `batch` images."""
        self.images += batch
        current = network.state_dict()
        for gamma, average in zip(self.gammas, self.averages, strict=True):
            rate = 1 - power_decay(self.images, batch, gamma)
            theirs = [current[k].detach().to(average[k].dtype) for k in average]
            torch._foreach_lerp_(list(average.values()), theirs, rate)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return the averages as groups of a checkpoint: "power_0", "power_1", ..."""
        return {f"power_{i}": average for i, average in enumerate(self.averages)}

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]], images: int) -> None:
        """Take the averages from the groups of `tensors`, and the images seen, as a checkpoint holds them."""
        self.images = images
        for name, average in self.tensors().items():
            for key, value in average.items():
                value.copy_(part_of(tensors[name][key], value))

    def snapshot(self, run: Path, averages: Sequence[Mapping[str, Tensor]] | None = None) -> Path:
        """Write the averages under `run`/ema, whole or not at all; return the folder.

        `averages` replace those of this object, whose tensors may be sharded; they are the same, gathered.

        Raises `UsageError` before the first step, and `ResourceError` if they cannot be written.
        """
        if self.images < 1:
            raise UsageError("there is no average before the first step.")
        final = run / "ema" / f"images_{self.images:012d}"
        text = encode_json({"format": FORMAT, "images": self.images, "gammas": self.gammas})
        averages = self.averages if averages is None else averages
        RunRecord(run).claim(final)
        with replace_folder(final, sum(map(tensor_bytes, averages)) + 4096) as writer:
            for i, average in enumerate(averages):
                writer.write(f"average_{i}.safetensors", tensor_chunks(average))
            writer.write_text("snapshot.json", text)
        return final


# ------------------------------------------------------------------------------------------------ after training


def list_snapshots(run: Path) -> dict[Profile, Path]:
    """Return the file of every average saved under `run`/ema, earliest first, each folder checked by its manifest.

    Raises `BundleError` naming a file that is missing, damaged or of another format.
    """
    found: dict[Profile, Path] = {}
    for folder in sorted((run / "ema").glob("images_*")):
        if _NAME.fullmatch(folder.name):
            found |= read_snapshot(folder)
    return found


def read_snapshot(folder: Path) -> dict[Profile, Path]:
    """Return the file of every average in the snapshot `folder`, images_N, after checking it by its manifest.

    Raises `BundleError` naming a file that is missing, damaged or of another format.
    """
    verify_manifest(folder)
    where = folder / "snapshot.json"
    data = read_json(where)
    if not isinstance(data, dict) or data.keys() != {"format", "images", "gammas"} or data["format"] != FORMAT:
        raise BundleError(f"{where} is no snapshot of format {FORMAT}.")
    match = _NAME.fullmatch(folder.name)
    if type(data["images"]) is not int or match is None or data["images"] != int(match[1]):
        raise BundleError(f"{folder} holds the averages at {data['images']} images: the folder was renamed.")
    gammas = data["gammas"]
    if not isinstance(gammas, list) or not all(type(g) is float and 0 <= g < math.inf for g in gammas):
        raise BundleError(f"{where} has exponents {gammas!r}: numbers of at least 0 were expected.")
    return {Profile(data["images"], g): folder / f"average_{i}.safetensors" for i, g in enumerate(gammas)}


def reconstruct(
    run: Path, sigma_rel: float, images: int | None = None, expected: Mapping[str, TensorSpec] | None = None
) -> tuple[dict[str, Tensor], float]:
    """Return the weights averaged with `sigma_rel` at `images` (default: the last snapshot), in float32.

    Also return the relative distance of their profile from the requested one. One file is in memory at a time, and the
    sum is in float64. `expected` gives the shapes and dtypes that each file must have; without it, the files must agree
    with one another.

    Raises:
        UsageError: sigma_rel out of range, no snapshots, none at `images`, or too few of them for this sigma_rel.
        BundleError: a damaged snapshot.
    """
    gamma, found = sigma_rel_to_gamma(sigma_rel), list_snapshots(run)
    if not found:
        raise UsageError(f"{run / 'ema'} holds no snapshots: there is nothing to put together.")
    times = sorted({p.images for p in found})
    time = times[-1] if images is None else images
    if time not in times:
        raise UsageError(_beside(time, times))
    weights, distance = solve_weights(list(found), Profile(time, _recorded(gamma, found)))
    if distance > WORST:
        tracked = " and ".join(f"{gamma_to_sigma_rel(g):g}" for g in sorted({p.gamma for p in found}, reverse=True))
        raise UsageError(
            f"the length {sigma_rel:g} cannot be put together from the {times.index(time) + 1} snapshot(s) up to "
            f"{time} images: their profiles miss it by {distance:.0%}. Choose a length nearer to {tracked}, which were "
            "tracked, or train with more snapshots."
        )
    total: dict[str, Tensor] = {}
    for weight, path in zip(weights, found.values(), strict=True):
        if weight == 0:
            continue
        tensors = read_tensors(path, expected)
        expected = specs(tensors)
        for name, value in tensors.items():
            total[name] = total[name].add_(value.double(), alpha=weight) if name in total else weight * value.double()
    return {name: value.float() for name, value in total.items()}, distance


def _recorded(gamma: float, found: Mapping[Profile, Path]) -> float:
    """Return the exponent of a snapshot that differs from `gamma` only by round-off, or `gamma` if there is none."""
    return next((p.gamma for p in found if math.isclose(p.gamma, gamma, rel_tol=1e-9)), gamma)


def _beside(time: int, times: Sequence[int]) -> str:
    """Return the sentence that refuses a time without a snapshot and names the nearest ones."""
    if not times[0] <= time <= times[-1]:
        return f"images = {time} is out of range: the snapshots reach from {times[0]} to {times[-1]}."
    later = bisect.bisect(times, time)
    return (
        f"no snapshot was taken at {time} images, and an average can be put together only where one was. The nearest "
        f"are at {times[later - 1]} and {times[later]} images: choose one of these."
    )
