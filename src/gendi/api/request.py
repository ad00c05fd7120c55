"""A request describes which samples to draw from a model, and how. The command line or the keywords make it once.

A file of samples holds its request as one line of JSON, so that `gendi sample --again FILE` can draw the same
samples again. The JSON has the fields that gendi 0.1.0 wrote, in their order, so either version reads the other's; what
version 0.1.0 does not know (bounds, temperature, noise_scale, precision, proportions, infill, where, profiles) is
written only where it is not the default.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gendi.api.conditions import as_texts, as_words
from gendi.api.edit_settings import edited_by
from gendi.api.guidance import Guidance
from gendi.api.impute import BATCH as ROWS
from gendi.api.proportions import Proportions
from gendi.api.proportions import fits as fits_proportions
from gendi.data.images.sample_files import SETTINGS, read_texts
from gendi.data.tables.cells import as_word
from gendi.diffusion.gaussian.inverse.box import LEVELS
from gendi.diffusion.gaussian.samplers import SAMPLERS, Drawing, SamplerInfo
from gendi.diffusion.gaussian.samplers.grid import BOUNDS
from gendi.errors import DataError, Mend, UsageError
from gendi.machine.version import __version__
from gendi.storage.plain import in_utf8
from gendi.train.kept.bundle import Bundle
from gendi.train.weights.families import family_of

MOST_OWN = 10_000
"""The most calls that a bundle's own configuration may ask for; whoever wants more says so."""
MOST_ADAPTIVE = 1000
"""Calls that a sampler which chooses its own steps may make."""
REQUIRED = ("run", "sampler", "steps", "seed", "n")
OPTIONAL = (
    *("first", "eta", "grid", "options", "condition", "per_class", "guidance", "clip", "weights", "guides", "version"),
    *("bounds", "temperature", "noise_scale", "precision", "proportions", "infill", "where", "profiles"),
)
HEAT = ("temperature", "noise_scale")
"""Settings that are written only where they are not 1."""


@dataclass(frozen=True)
class Request:
    """Everything that decides what is drawn."""

    run: str
    """Folder of the run or bundle, as it was given; empty for a model in memory."""
    n: int
    """How many samples."""
    how: Drawing = field(default_factory=Drawing)
    """Sampler, calls, seed, first index, grid and options; also batch size and device, on which the samples do not
    depend.
    """
    condition: Mapping[str, Any] = field(default_factory=dict)
    """The requested conditions by name: `gendi.api.conditions.Words` of the command line, or values as `gendi.sample`
    takes them. If there are none, pictures of every class are drawn in turn, or in `proportions`.
    """
    per_class: int | None = None
    """How many samples of one class are drawn before those of the next; None takes the requested classes in turn."""
    guidance: Guidance | None = None
    """None means no guidance: the model's own guidance stands here as what it is."""
    precision: str | None = None
    """fp32 or bf16; None is what the training chose."""
    clip: bool = True
    """Whether the model's sampling bounds x0_hat to the range of the data."""
    weights: str | None = None
    """SHA-256 of the weights' file."""
    guides: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the weights' files of the models in `guidance`, by field."""
    version: str = __version__
    proportions: Proportions | None = None
    """How often each class is drawn where no condition is requested; None draws the classes in turn."""
    infill: str | None = None
    """Which parts of a sequence are given, as the codec of sequences reads it; None for none."""
    profiles: str | None = None
    """For cells, how the profiles of classes are drawn, as `gendi.data.cells.copula.PROFILES` names it; None is as they
    are estimated."""
    where: Mapping[str, Any] = field(default_factory=dict)
    """Which cells of the rows of a table are given, by the name of the column."""

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        n: int,
        settings: Mapping[str, Any],
        *,
        run: str = "",
        condition: Mapping[str, Any] | None = None,
        guidance: Guidance | float | None = None,
        precision: str | None = None,
        infill: str | None = None,
        profiles: str | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the request that keywords stand for; the bundle's own sampler, calls and guidance are the defaults.

        Args:
            settings: fields of `Drawing` and options of the sampler; steps and sampler may be None.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        own = bundle.config.sample
        usual: dict[str, Any] = {} if "steps" in given else {"steps": LEVELS if where else own_calls(bundle)}
        usual |= {"batch_size": ROWS} if where else {}
        how = Drawing.of({**usual, "sampler": own.sampler, "bounds": bundle.bounds} | given)
        guided = own_guidance(bundle) if guidance is None else Guidance.of(guidance)
        more: dict[str, Any] = {"infill": infill, "where": where or {}, "profiles": profiles}
        return cls(run, n, how, condition or {}, None, guided, precision, own.clip, **more)

    @property
    def indices(self) -> range:
        """The numbers of the samples in the seed's streams."""
        return range(self.how.first_index, self.how.first_index + self.n)

    def part(self, n: int, first: int) -> Self:
        """Return the request of the n samples from the number `first` on alone."""
        return dataclasses.replace(self, n=n, how=dataclasses.replace(self.how, first_index=first))

    def texts(self, n: int, first: int) -> dict[str, str]:
        """Return the texts that a file of the n samples from the number `first` on holds."""
        return {"Software": f"gendi {self.version}", SETTINGS: self.part(n, first).to_json()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values. Raises `UsageError` for what has none: conditions in memory, or a function of time."""
        how, options = self.how, dict(self.how.options)
        eta = options.pop("eta", None)
        values: dict[str, Any] = {
            "run": self.run,
            "sampler": how.sampler,
            "steps": how.steps,
            "seed": how.seed,
            "n": self.n,
            "first": how.first_index,
            "eta": eta,
            "grid": how.grid,
            "options": options,
            "condition": as_texts(self.condition),
            "per_class": self.per_class,
            "guidance": {} if self.guidance is None else self.guidance.to_dict(),
            "clip": self.clip,
            "weights": self.weights,
            "guides": dict(self.guides),
            "version": self.version,
        }
        if how.bounds != BOUNDS:
            values["bounds"] = list(how.bounds)
        values |= {name: heat for name in HEAT if (heat := getattr(how, name)) != 1}
        if self.precision is not None:
            values["precision"] = self.precision
        if self.infill is not None:
            values["infill"] = self.infill
        if self.profiles is not None:
            values["profiles"] = self.profiles
        if self.where:
            values["where"] = {name: as_word(cell) for name, cell in self.where.items()}
        if self.proportions is not None:
            values["proportions"] = self.proportions.to_dict()
        return values

    def to_json(self) -> str:
        """Return the request as one line of JSON."""
        return in_utf8(json.dumps(self.to_dict(), ensure_ascii=False)).decode()

    @classmethod
    def from_json(cls, text: str, where: Path) -> Self:
        """Read what `to_json` wrote. Raises `DataError` naming `where` and the field that is wrong."""
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise DataError(
                f"{where}: its settings are damaged: they are not JSON. Give the flags yourself instead of --again."
            )
        if missing := sorted(set(REQUIRED) - data.keys()):
            raise DataError(f"{where}: its settings have no {missing[0]!r}. It was not written by gendi sample.")
        for name, value in data.items():
            if name not in REQUIRED + OPTIONAL:
                raise DataError(
                    f"{where} was drawn by gendi {data.get('version')} with {name!r}, which gendi {__version__} "
                    "does not know. Use that version, or give the flags yourself instead of --again."
                )
            if not _fits(name, value):
                raise DataError(f"{where}: its settings say {name} = {value!r}, which is not possible.")
        eta = data.get("eta")
        how = Drawing(
            steps=data["steps"],
            sampler=data["sampler"],
            seed=data["seed"],
            first_index=data.get("first", 0),
            grid=data.get("grid"),
            bounds=tuple(data.get("bounds", BOUNDS)),
            options=data.get("options", {}) | ({} if eta is None else {"eta": eta}),
            **{name: data[name] for name in HEAT if name in data},
        )
        rest = {
            name: data[name]
            for name in ("per_class", "precision", "clip", "weights", "guides", "infill", "where", "profiles")
            if name in data
        }
        return cls(
            data["run"],
            data["n"],
            how,
            condition=as_words(data.get("condition", {})),
            guidance=Guidance.from_dict(data.get("guidance", {})),
            version=data.get("version", __version__),
            proportions=Proportions.from_dict(data["proportions"]) if "proportions" in data else None,
            **rest,
        )


def read_request(path: Path) -> Request:
    """Return how the samples in `path` were drawn: a grid, a picture, a folder or an .npz that gendi sample wrote.

    Raises `DataError` if `path` does not say how it was made, and `UsageError` if an edit wrote it.
    """
    if not path.exists():
        raise DataError(f"There is no file {path} to draw again.")
    if path.is_dir():
        pictures = sorted(path.glob("*.png"))
        if not pictures:
            raise DataError(f"{path} holds no PNG. Give the picture or folder that gendi sample wrote.")
        return dataclasses.replace(read_request(pictures[0]), n=len(pictures))
    found = read_texts(path)
    if edit := edited_by(found):
        error = UsageError(f"{path} was made by gendi {edit}: run gendi {edit} --again {path}.")
        raise error.mended_by(Mend(command=edit))
    text = found.get(SETTINGS)
    if text is None:
        raise DataError(
            f"{path} does not say how it was made: it was not written by gendi sample, or was edited since."
        )
    return Request.from_json(text, path)


def enough_calls(sampler: str, bundle: Bundle) -> int:
    """Return the calls to make with `sampler` when neither the user nor the model says: enough for it to be good."""
    own, family = bundle.config.sample.sampler, family_of(bundle.config)
    info = family.find_sampler(sampler)
    if isinstance(info, SamplerInfo):
        if info.adaptive:
            return own_calls(bundle) if sampler == own else MOST_ADAPTIVE
        usual = 20 if info.grid in ("karras", "log-snr") else 50 if info.quick else 1000
    else:
        usual = own_calls(bundle)
        if getattr(info, "one_by_one", False):
            return bundle.codec.shape[0]
    wanted, chain = own_calls(bundle) if sampler == own else usual, family.steps(bundle.config)
    return wanted if chain is None else min(wanted, chain)


def own_calls(bundle: Bundle) -> int:
    """Return the calls per sample that a bundle asks for. Raises `UsageError` if they are too many to be meant."""
    steps = bundle.config.sample.steps
    if steps > MOST_OWN:
        raise UsageError(
            f"The model's own number of network calls per sample is {steps:,}; more than {MOST_OWN:,} are made only "
            "on request. Say how many you want: --steps 50, or steps=50 in Python."
        ).mended_by(Mend(add=("--steps", "50")))
    return steps


def own_guidance(bundle: Bundle) -> Guidance | None:
    """Return how a bundle guides its samples when the user does not say; None for a model that cannot be guided."""
    scale = bundle.config.sample.guidance
    can = any(spec.dropout > 0 for spec in bundle.config.conditions)
    return Guidance(scale) if scale != 1 and can else None


def samplers_with_eta() -> list[str]:
    """Return the names of the samplers that have the option eta."""
    return [name for name, info in SAMPLERS.items() if "eta" in info.options]


def _fits(name: str, value: object) -> bool:
    match name:
        case "steps" | "n":
            return type(value) is int and 1 <= value <= 10**9
        case "seed" | "first":
            return type(value) is int and 0 <= value < 2**63
        case "eta":
            return value is None or (isinstance(value, int | float) and math.isfinite(value))
        case "clip":
            return isinstance(value, bool)
        case "options":
            return isinstance(value, dict) and all(isinstance(v, float | int | bool | str) for v in value.values())
        case "condition" | "guides" | "where":
            return _is_table(value, str)
        case "per_class":
            return value is None or (type(value) is int and 1 <= value <= 10**9)
        case "guidance":
            return isinstance(value, dict) and all(_fits_guidance(field, inside) for field, inside in value.items())
        case "bounds":
            return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
        case "temperature" | "noise_scale":
            return isinstance(value, int | float) and _is_number(value) and 0 <= value < math.inf
        case "proportions":
            return fits_proportions(value)
        case "weights" | "grid" | "precision" | "infill" | "profiles":
            return value is None or isinstance(value, str)
    return isinstance(value, str)


def _fits_guidance(name: str, value: object) -> bool:
    match name:
        case "scale" | "rescale" | "threshold":
            return _is_number(value)
        case "scales":
            return _is_table(value, int | float)
        case "nested":
            return isinstance(value, bool)
        case "interval":
            return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
        case "negative":
            return _is_table(value, str)
    return name in ("bad", "classifier") and isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_table(value: object, kind: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(inside, kind) for inside in value.values())
