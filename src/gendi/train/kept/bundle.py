"""A bundle is a trained model on disk: a folder with everything that is needed to use it.

    bundle/config.json          the configuration with its conditions, the codec, and facts about the model
    bundle/model.safetensors    the EMA weights, and the table of a learned schedule
    bundle/codec.safetensors    the tensors of a codec that was fitted to data
    bundle/README.md            the model card
    bundle/MANIFEST.json        size and SHA-256 of each file

A bundle holds only data: names of registry entries, numbers and tensors. Reading it runs no code from it, and checks
every byte, every field and every shape before the network is allocated.
"""

import json
import logging
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendi.data.codec import Codec
from gendi.data.codec_files import TENSORS, read_codec_parts, write_codec_tensors
from gendi.data.kinds import kind_of
from gendi.data.places import from_here
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.samplers.grid import Bounds, bounds_for
from gendi.diffusion.gaussian.schedule.learned import ENTRIES
from gendi.errors import BundleError, UsageError
from gendi.machine.tables import html_card
from gendi.machine.version import __version__
from gendi.storage.files import MANIFEST, encode_json, read_json, verify_manifest
from gendi.storage.folders import replace_folder
from gendi.storage.formats import refuse_newer
from gendi.storage.safe_tensors import TensorSpec, compare_specs, read_tensors, specs, tensor_bytes, tensor_chunks
from gendi.train.config import RunConfig
from gendi.train.kept.card import model_card
from gendi.train.kept.folders import CONFIG, UNFINISHED, WEIGHTS, ambiguity, bundle_folder, version_of
from gendi.train.kept.portrait import facts_of, pictures_of
from gendi.train.kept.shipped import META as META_SHIPPED
from gendi.train.weights.families import TABLE, family_of
from gendi.train.weights.model import denoiser_of, network_of, posterior_of, shares_of

FORMAT = 1
"""The version of the files of a bundle; a reader refuses a higher one."""
CARD = "README.md"
STORED, FLOAT16 = "weights", "float16"
"""The field of a bundle's meta, and its value, that says that the file holds the weights as float16; there is none for
float32. In memory the weights are float32 either way."""
ATTEMPTS = 5
"""How often a bundle is read that is replaced by the next one at that moment."""
META: dict[str, type] = {
    **dict.fromkeys(("data", "data_spec", "fingerprint", "precision", "layout", "gendi", "torch", "python"), str),
    "split_by": str,
    STORED: str,
    **dict.fromkeys(("step", "images", "seed"), int),
    **dict.fromkeys(("seconds", "smallest_scale", UNFINISHED), float),
    **dict.fromkeys(("metrics", META_SHIPPED), dict),
}
"""The names and types of facts about a model; `meta` may hold other names too."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bundle:
    """A trained model with everything it needs."""

    config: RunConfig
    codec: Codec
    state: dict[str, Tensor]
    """The network's weights (EMA) by name."""
    sigma_data: float = 1.0
    """Root mean square of the encoded training data."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Facts about the model as plain JSON values: data, fingerprint, step, images, seconds, metrics, gendi, ..."""
    log_snr: Tensor | None = None
    """The table (1001,), float64, of a learned schedule (see `gendi.diffusion.gaussian.schedule.Tabulated`); None for
    other schedules."""
    sha256: str | None = field(default=None, compare=False)
    """SHA-256 of the file that the weights were read from; None for a model that was made in memory."""

    def condition(self, name: str) -> ConditionConfig | None:
        """Return the condition `name` of the network, or None if it has none of that name."""
        return next((spec for spec in self.config.conditions if spec.name == name), None)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes of the condition `class`, in the order of their numbers; empty if there are none."""
        spec = self.condition("class")
        return () if spec is None else spec.names

    @property
    def bounds(self) -> Bounds:
        """The bounds of the grids that are even in the noise level, chosen by the smallest scale of the data."""
        return bounds_for(self.meta.get("smallest_scale"))

    def schedule(self) -> Any:
        """Return the schedule of the forward process; of tokens, the process itself.

        Raises `BundleError` if it is a learned schedule whose table is missing or bad.
        """
        return family_of(self.config).process(self.config, self.log_snr)

    def network(self, device: str | torch.device = "cpu") -> nn.Module:
        """Return the network with its weights on `device`, in evaluation mode.

        Raises `BundleError` naming the tensor if the weights do not fit the configuration.
        """
        compare_specs("The weights in memory", specs(self.state), _expected(self.config, self.codec))
        with torch.random.fork_rng(
            devices=[]
        ):  # initial weights are overwritten, and must not change the caller's random state
            network = network_of(self.config, self.codec.shape)
        network.load_state_dict(self.state)
        return network.to(device).eval().requires_grad_(False)

    def denoiser(self, device: str | torch.device = "cpu", clip: float | None = None) -> Any:
        """Return the denoiser for samplers, a `Trained` one of the model's family.

        It says E[x_0 | x_t], with a variance if the model learned one; of tokens, log p(x_0 | x_t).

        `clip` bounds its output to [-clip, clip] (1 for pixels); None leaves it unbounded.
        """
        precision = "bf16" if self.meta.get("precision") == "bf16" else "fp32"
        network, schedule = self.network(device), self.schedule()
        options = {"clip": clip, "precision": precision, **posterior_of(self.config, self.codec, device)}
        made = denoiser_of(self.config, network, schedule, self.sigma_data, **options).eval()
        made.shares = shares_of(self.config, network, self.codec.shape, torch.device(device))
        return made

    def __repr__(self) -> str:
        return "Bundle(" + ", ".join(f"{name}: {value}" for name, value in self._facts().items()) + ")"

    def _repr_html_(self) -> str:
        png = pictures_of(self.config, self.codec, self.denoiser(clip=1.0 if self.config.sample.clip else None))
        note = "gendi.show(gendi.sample(model)) draws 64." if kind_of(self.codec.kind).previews else ""
        return html_card("A diffusion model", self._facts(), png, note)

    def _facts(self) -> dict[str, str]:
        return facts_of(self.config, self.codec, self.meta, sum(tensor.numel() for tensor in self.state.values()))


def _expected(config: RunConfig, codec: Codec) -> dict[str, TensorSpec]:
    """Return the shapes and dtypes of the network's weights, from a network without memory."""
    with torch.device("meta"):
        return specs(network_of(config, codec.shape))


def save_bundle(folder: Path, bundle: Bundle) -> Path:
    """Write `bundle` to `folder` (the `bundle` folder of a run, or any other), and return `folder`.

    A bundle that is there already is replaced at once. Raises `ResourceError` if the disk is full or refuses; the old
    bundle then stays.
    """
    meta = {"gendi": __version__, "torch": str(torch.__version__), **bundle.meta}
    text = encode_json(
        {
            "format": FORMAT,
            "gendi": __version__,
            "config": bundle.config.to_dict(),
            "codec": bundle.codec.to_dict(),
            "sigma_data": bundle.sigma_data,
            "meta": meta,
        }
    )
    card = model_card(bundle.config, bundle.codec, meta, sum(tensor.numel() for tensor in bundle.state.values()))
    state = as_float16(bundle.state) if meta.get(STORED) == FLOAT16 else bundle.state
    tensors = state if bundle.log_snr is None else {**state, TABLE: bundle.log_snr}
    size = tensor_bytes(tensors) + tensor_bytes(bundle.codec.tensors()) + 4 * len(text) + 4 * len(card) + 4096
    with replace_folder(folder, size) as writer:
        writer.write(WEIGHTS, tensor_chunks(tensors))
        write_codec_tensors(writer, bundle.codec)
        writer.write_text(CONFIG, text)
        writer.write_text(CARD, card)
    return folder


def as_float16(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of float32 rounded to the nearest float16; other types stay.

    Raises `UsageError` naming a tensor with a value that float16 has no number for, which is one beyond 65504.
    """
    found = {name: tensor.half() if tensor.dtype == torch.float32 else tensor for name, tensor in state.items()}
    for name, tensor in found.items():
        if tensor.dtype == torch.float16 and not tensor.isfinite().all():
            raise UsageError(f"{name!r} has values beyond the range of float16: keep these weights as float32.")
    return found


def load_bundle(path: str | Path) -> Bundle:
    """Read the bundle of a run's folder, the bundle in the folder `path`, or the model of this name that comes with
    gendi.

    A run that trains replaces its bundle from time to time. If that happens while it is read, it is read once more, so
    that the result is never a mixture of two.

    Raises:
        UsageError: there is no such folder, or it is neither a run nor a bundle.
        BundleError: a file is missing, damaged or edited; the format is newer; a field or tensor is missing, unknown,
            or of the wrong type, range, shape or dtype; or the weights are a pickle. The text names it.
    """
    for attempt in range(ATTEMPTS):
        folder = bundle_folder(Path(path))
        before, seal = version_of(folder), _seal(folder)
        try:
            found = _load(folder)
        except (BundleError, FileNotFoundError):
            if version_of(folder) == before or attempt == ATTEMPTS - 1:
                raise
        else:
            if _seal(folder) == seal and seal is not None:
                if (note := ambiguity(path)) is not None and os.environ.get("RANK", "0") == "0":
                    logger.warning("note: %s", note)
                spec = from_here(found.meta.get("data_spec"), folder)
                meta = found.meta if spec is None else {**found.meta, "data_spec": spec}
                return replace(found, meta=meta, sha256=json.loads(seal)["files"][WEIGHTS]["sha256"])
    raise BundleError(f"{path} was replaced {ATTEMPTS} times while it was read: try again.")


def _seal(folder: Path) -> bytes | None:
    """Return the manifest, which has the hash of every file: bundles with the same one are the same."""
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError:
        return None


def _load(folder: Path) -> Bundle:
    """Return the bundle in `folder`, which is as `load_bundle` describes it."""
    verify_manifest(folder)
    where = folder / CONFIG
    data = read_json(where)
    if not isinstance(data, dict):
        raise BundleError(f"{where} is no table of fields: it was not written by gendi.")
    refuse_newer(folder, data, FORMAT)
    bundle = _read_config(data, where, folder / TENSORS)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise BundleError(f"{weights} is missing: the bundle was copied only in part.")
    try:
        expected = _expected(bundle.config, bundle.codec)
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{where} describes a network that cannot be built: {error}.") from None
    if bundle.meta.get(STORED) == FLOAT16:
        half = {torch.float32: torch.float16}
        expected = {name: (shape, half.get(dtype, dtype)) for name, (shape, dtype) in expected.items()}
    if bundle.config.process.schedule == "learned":
        expected[TABLE] = ((ENTRIES,), torch.float64)
    tensors = read_tensors(weights, expected)
    tensors = {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()}
    bundle = replace(bundle, log_snr=tensors.pop(TABLE, None))
    bundle.state.update(tensors)
    bundle.schedule()
    return bundle


def _read_config(data: dict[str, Any], where: Path, fitted: Path) -> Bundle:
    """Return the bundle that `config.json` describes, without weights; the tensors of its codec are in `fitted`."""
    names = {"format", "gendi", "config", "codec", "sigma_data", "meta"}
    if wrong := sorted(data.keys() ^ names):
        raise BundleError(f"{where}: field {wrong[0]!r} is {'unknown' if wrong[0] in data else 'missing'}.")
    if data["format"] != FORMAT:
        raise BundleError(f"{where}: format = {data['format']!r}; this version of gendi reads format {FORMAT}.")
    sigma_data, meta = data["sigma_data"], data["meta"]
    if isinstance(sigma_data, bool) or not isinstance(sigma_data, int | float) or not 0 < sigma_data < 1e12:
        raise BundleError(f"{where}: sigma_data = {sigma_data!r}; it must be a positive number.")
    if not isinstance(meta, dict):
        raise BundleError(f"{where}: meta must be a table of fields.")
    if meta.get(STORED) not in (None, FLOAT16):
        raise BundleError(f"{where}: meta.{STORED} = {meta[STORED]!r}; weights are stored as {FLOAT16} or float32.")
    for name in (name for name, kind in META.items() if not _is(meta.get(name), kind)):
        raise BundleError(f"{where}: meta.{name} = {meta[name]!r}; it must be of type {META[name].__name__}.")
    try:
        config = RunConfig.from_dict(data["config"])
        codec = read_codec_parts(data["codec"], fitted)
    except (UsageError, BundleError) as error:
        raise BundleError(f"{where}: {error}") from None
    return Bundle(config, codec, {}, float(sigma_data), meta)


def _is(value: object, kind: type) -> bool:
    """Return whether a value of `meta` has the type that its name promises; None always has."""
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return value is None or (number and -1e300 < typing.cast(float, value) < 1e300)
    return value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool)))
