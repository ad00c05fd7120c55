"""A noise-aware classifier on disk. Like a bundle, it holds only names, numbers, tensors, and a manifest of its files.

classifier/config.json          its classes, its network, the codec of its pictures, and its accuracy
classifier/model.safetensors    the weights
classifier/MANIFEST.json        size and SHA-256 of each file
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.codec_files import TENSORS, read_codec_parts, write_codec_tensors
from gendi.data.kinds import kind_of
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.guidance.noisy_classifier import GROUPS, ClassifierNetwork, NoisyClassifier
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import BundleError, GendiError, UsageError
from gendi.machine.version import __version__
from gendi.storage.files import encode_json, read_json, read_manifest, verify_manifest
from gendi.storage.folders import current_folder, replace_folder
from gendi.storage.safe_tensors import read_tensors, specs, tensor_bytes, tensor_chunks
from gendi.train.kept.folders import CONFIG, WEIGHTS

FORMAT, KIND = 1, "noise-aware classifier"
MOST_CLASSES, MOST_WIDTH = 1_000_000, 8192


@dataclass(frozen=True)
class ClassifierBundle:
    """A trained classifier of noisy pictures."""

    classes: int
    class_names: tuple[str, ...]
    """The names of the classes in the order of their numbers; empty if they have no names."""
    codec: Codec
    widths: tuple[int, ...]
    """The widths of the levels of `ClassifierNetwork`."""
    sigma_data: float
    state: dict[str, Tensor]
    """The network's weights by name."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Facts about the classifier as plain JSON values: data, steps, seconds, accuracy by noise level."""
    sha256: str | None = field(default=None, compare=False)
    """SHA-256 of the file that the weights were read from; None for a classifier that was made in memory."""

    @property
    def condition(self) -> ConditionConfig:
        """The condition that guidance by this classifier can use."""
        return ConditionConfig("class", "class", self.classes, names=self.class_names)

    def classifier(self, schedule: Schedule, device: str | torch.device = "cpu") -> NoisyClassifier:
        """Return the classifier for the x_t of a schedule, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):  # initial weights are overwritten
            network = _network(self)
        network.load_state_dict(self.state)
        network = network.to(device).eval().requires_grad_(False)
        return NoisyClassifier(network, schedule, self.sigma_data)


def _network(bundle: ClassifierBundle) -> ClassifierNetwork:
    return ClassifierNetwork(bundle.codec.shape[0], bundle.classes, bundle.widths)


def save_classifier(folder: Path, bundle: ClassifierBundle) -> Path:
    """Write `bundle` to `folder` and return `folder`. A classifier that is there already is replaced at once.

    Raises `UsageError` if the folder holds anything else, `ResourceError` if the disk is full or refuses.
    """
    check_place(folder)
    text = encode_json(
        {
            "format": FORMAT,
            "kind": KIND,
            "gendi": __version__,
            "classes": bundle.classes,
            "class_names": bundle.class_names,
            "codec": bundle.codec.to_dict(),
            "widths": bundle.widths,
            "sigma_data": bundle.sigma_data,
            "meta": {"torch": str(torch.__version__), **bundle.meta},
        }
    )
    with replace_folder(folder, tensor_bytes(bundle.state) + 4 * len(text) + 4096) as writer:
        writer.write(WEIGHTS, tensor_chunks(bundle.state))
        write_codec_tensors(writer, bundle.codec)
        writer.write_text(CONFIG, text)
    return folder


def check_place(folder: Path) -> None:
    """Raise `UsageError` if `folder` holds anything but a classifier."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    config = folder / CONFIG
    data = read_json(config) if config.is_file() else None
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise UsageError(f"{folder} holds something else than a classifier. Choose another folder.")


def is_classifier(path: Path) -> bool:
    """Return whether there is a classifier in the folder `path`."""
    try:
        classifier_folder(path)
    except GendiError:
        return False
    return True


def classifier_folder(path: Path) -> Path:
    """Return the folder that holds the classifier `path`. Raises `UsageError` if there is none."""
    folder = current_folder(path)
    where = folder / CONFIG
    if not where.is_file():
        raise UsageError(f"{path} is no classifier: it has no {CONFIG}. Make one by gendi train-classifier.")
    data = read_json(where)
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise UsageError(f"{path} is no classifier of noisy pictures. Make one by gendi train-classifier.")
    return folder


def load_classifier(path: str | Path) -> ClassifierBundle:
    """Read the classifier in the folder `path`.

    Raises:
        UsageError: there is no such folder, or it holds no classifier.
        BundleError: a file, which is named, is missing, damaged or edited; a field or tensor is missing, unknown or
            wrong.
    """
    folder = classifier_folder(Path(path))
    sealed = {name: digest.sha256 for name, digest in read_manifest(folder).items()}
    verify_manifest(folder)
    bundle = _read_config(read_json(folder / CONFIG), folder / CONFIG)
    with torch.device("meta"):
        expected = specs(_network(bundle))
    bundle.state.update(read_tensors(folder / WEIGHTS, expected))
    return replace(bundle, sha256=sealed.get(WEIGHTS))


def _read_config(data: dict[str, Any], where: Path) -> ClassifierBundle:
    names = {"format", "kind", "gendi", "classes", "class_names", "codec", "widths", "sigma_data", "meta"}
    if wrong := sorted(data.keys() ^ names):
        raise BundleError(f"{where}: field {wrong[0]!r} is {'unknown' if wrong[0] in data else 'missing'}.")
    if data["format"] != FORMAT:
        raise BundleError(f"{where}: format = {data['format']!r}; this version of gendi reads format {FORMAT}.")
    classes, words, widths, sigma_data = data["classes"], data["class_names"], data["widths"], data["sigma_data"]
    if type(classes) is not int or not 1 <= classes <= MOST_CLASSES:
        raise BundleError(f"{where}: classes = {classes!r}; it must lie between 1 and {MOST_CLASSES}.")
    if not isinstance(words, list) or not all(isinstance(w, str) for w in words) or len(words) not in (0, classes):
        raise BundleError(f"{where}: class_names must be {classes} strings, or none.")
    if not isinstance(widths, list) or not 1 <= len(widths) <= 8 or not all(map(width_fits, widths)):
        raise BundleError(f"{where}: widths = {widths!r}; they must be 1 to 8 multiples of {GROUPS}.")
    if isinstance(sigma_data, bool) or not isinstance(sigma_data, int | float) or not 0 < sigma_data < math.inf:
        raise BundleError(f"{where}: sigma_data = {sigma_data!r}; it must be a positive number.")
    if not isinstance(data["meta"], dict):
        raise BundleError(f"{where}: meta must be a table of fields.")
    try:
        codec = read_codec_parts(data["codec"], where.parent / TENSORS)
    except BundleError as error:
        raise BundleError(f"{where}: {error}") from None
    if not kind_of(codec.kind).pictures:
        raise BundleError(f"{where}: the codec is of kind {codec.kind!r}; a classifier names pictures.")
    return ClassifierBundle(classes, tuple(words), codec, tuple(widths), float(sigma_data), {}, data["meta"])


def width_fits(width: object) -> bool:
    """Return whether a level of the network can have this width."""
    return type(width) is int and 1 <= width <= MOST_WIDTH and width % GROUPS == 0
