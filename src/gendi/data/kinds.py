"""Kinds of data: what each brings, behind one contract, and where it is found.

A kind is an object of a class with the methods of `Kind`. It is known by its name: registered in this process,
`KINDS.register("spectra", Spectra())`, or offered by an installed package in the group of entry points `gendi.kinds`:

    [project.entry-points."gendi.kinds"]
    spectra = "my_package.spectra:SPECTRA"

It is loaded when it is first needed. A module of a kind should import NumPy and torch inside its methods alone, as this
one does, so that the command line stays quick.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gendi.data.sources import ending_of, prefix_of, split_spec
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import SampleConfig
from gendi.errors import UsageError
from gendi.machine.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from gendi.data.codec import Codec
    from gendi.data.dataset import Data
    from gendi.data.split import Loaded
    from gendi.evaluate.result import Evaluation

    Texts = Callable[[int, int], Mapping[str, str]]

IN_MEMORY = "an object in memory"
"""The spec of data that came as an object, not by a name or a path."""


class Kind(ABC):
    """One kind of data. `codecs`, `open_path`, `fit`, `write` and `evaluate` have no default; the rest has."""

    name: ClassVar[str]
    """A word without a hyphen. The names of its codecs are this word, or begin with it and a hyphen."""
    title: ClassVar[str]
    """Its data in the plural, for people: pictures, cells, tables."""
    preset: ClassVar[str]
    """The preset for such data where nobody names one."""
    suffixes: ClassVar[tuple[str, ...]]
    """Endings of the files that samples are written to; the first is the usual one."""
    prefixes: ClassVar[tuple[str, ...]] = ()
    """What may stand before the colon of a spec of such data; by default the name of the kind."""
    endings: ClassVar[tuple[str, ...]] = ()
    """Endings of files that hold such data."""
    objects: ClassVar[str] = ""
    """What objects in memory can be such data, for messages: "a DataFrame"; empty if none can."""
    source_options: ClassVar[tuple[str, ...]] = ()
    """Options that a spec may give after its question mark, as far as the command line has flags for them."""
    noun: ClassVar[str] = "rows"
    """What its rows are called."""
    pictures: ClassVar[bool] = False
    """Whether rows are pictures, bytes (H, W, C): they can be brought to a size, shown and edited."""
    previews: ClassVar[bool] = False
    """Whether `preview` can show samples in the middle of training."""
    options: ClassVar[type | None] = None
    """The dataclass of the options of `fit`, a table of the run's configuration under the name of the kind."""
    derived_names: ClassVar[tuple[str, ...]] = ()
    """Conditions that are computed from the rows, as a person would write them: `low-res:F`."""
    without_conditions: ClassVar[str] = ""
    """How to give such data conditions where they have none: the end of a sentence."""
    evaluation_options: ClassVar[tuple[str, ...]] = ()
    """Further options of `evaluate`."""
    evaluates_together: ClassVar[bool] = False
    """Whether several processes call `evaluate` together and share its work; if not, the first one alone does."""
    keeps_settings: ClassVar[bool] = False
    """Whether the files that `write` writes say how samples were drawn."""

    # --- recognising and opening

    def claims(self, spec: object) -> bool:
        """Return whether a text without a prefix, or an object, names such data; by default, by its ending."""
        return isinstance(spec, str) and ending_of(spec) in self.endings

    def place(self, spec: str) -> tuple[str, dict[str, str]]:
        """Return the place that a spec names and its options. Raises `UsageError` for an option without a value."""
        return split_spec(spec, self.prefixes or (self.name,))

    def open(self, spec: Any, size: tuple[int, int] | None = None, max_bad: int | None = None) -> "Loaded":
        """Read the data that `spec` names. Pictures are brought to `size`; of files, at most `max_bad` are skipped.

        Raises:
            UsageError, DataError, ResourceError: as `gendi.data.open_data`.
        """
        if not isinstance(spec, str):
            loaded = self.open_object(spec)
            return replace(loaded, name=loaded.name or self.name)
        place, options = self.place(spec)
        loaded = self.open_path(place, options)
        return replace(loaded, name=loaded.name or Path(place).stem)

    def open_path(self, place: str, options: Mapping[str, str]) -> "Loaded":
        """Read a place, with options by name."""
        raise NotImplementedError(f"{type(self).__name__} has neither open nor open_path")

    def open_object(self, thing: Any) -> "Loaded":
        """Take an object in memory that it claims."""
        raise UsageError(f"{self.title} are read from files, and this is a {type(thing).__name__}.")

    def check(self, spec: str, **options: Any) -> Any:
        """Look at data from every side, as training would, and return a report. Raises `UsageError` if it cannot."""
        raise UsageError(f"There is no check of {self.title}: {spec} is looked at when it is trained on.")

    # --- the codec, and what happens to rows on their way to it

    @abstractmethod
    def codecs(self) -> "Mapping[str, type[Codec]]":
        """Return its codecs by their `kind`."""

    def fit(self, data: "Data", conditions: Sequence[ConditionConfig], seed: int, options: Any) -> "Codec":
        """Fit a codec to the training rows of raw data.

        Args:
            data: as `gendi.data.open_data` returned them.
            conditions: what the network is told of each row.
            seed: of everything that is drawn.
            options: an instance of the dataclass `options`, or None if the kind has none.

        Raises:
            DataError: rows that no codec can be fitted to.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fit, and its data came without a codec")

    def augment(
        self,
        rows: "Tensor",
        cond: "Mapping[str, Tensor]",
        *,
        seed: int,
        step: int,
        batch_size: int,
        part: slice,
        **options: Any,
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """Return raw rows (B, ...) and their conditions, raw too, as training step `step` sees them; unchanged here.

        Args:
            seed: of the run; draws are keyed by it and the step, so that going on is exact.
            batch_size: rows of the whole batch, of which these are those at `part`.
            options: `flip` and `crop` of the run's configuration.
        """
        return rows, dict(cond)

    def derived_condition(self, name: str, codec: "Codec | None") -> ConditionConfig | None:
        """Return what the condition `name` is if it is computed from the rows, else None. Raises `UsageError`."""
        return None

    def derived(self, specs: Sequence[ConditionConfig], x_0: "Tensor") -> "dict[str, Tensor]":
        """Return the conditions among `specs` that are computed from encoded rows x_0, by name."""
        return {}

    # --- samples

    def present(
        self,
        codec: "Codec",
        rows: "NDArray[Any]",
        cond: "Mapping[str, NDArray[Any]]",
        specs: Sequence[ConditionConfig],
        latent: "NDArray[Any]",
        provenance: Mapping[str, Any],
    ) -> Any:
        """Return decoded rows (n, ...) in the user's own form, by default as they are.

        Args:
            cond, specs: the conditions they were drawn under, and what these are.
            latent: the samples in model space, (n, *shape).
            provenance: how they were drawn.
        """
        return rows

    @abstractmethod
    def write(self, path: Path, samples: Any, texts: "Texts | None" = None, first: int = 0) -> None:
        """Write what `present` returned, whole or not at all.

        Args:
            texts: for a kind that `keeps_settings`: maps n and a number to the texts to keep in a file of the n
                samples from that number on, by name.
            first: the number of the first sample.

        Raises:
            UsageError: a path with another ending.
            ResourceError: the disk is full or refuses.
        """

    def check_destination(self, path: Path, n: int, codec: "Codec") -> None:
        """Raise `UsageError` if n samples cannot go to `path`; called before the work starts."""
        if path.suffix not in self.suffixes:
            known = " or ".join(f"NAME{suffix}" for suffix in self.suffixes)
            raise UsageError(f"--out {path}: these samples are written as {known}.")
        if path.is_dir():
            raise UsageError(f"--out {path} is a folder. Choose another name.")

    def read_samples(self, path: Path) -> Any:
        """Return samples in a file as `evaluate` takes them; by default `evaluate` takes the path."""
        return path

    def evaluated_file(self, run: Path) -> Path:
        """Return where a run keeps the samples that were measured."""
        return run / f"evaluated{self.suffixes[0]}"

    @abstractmethod
    def evaluate(self, samples: Any, data: "Data", **options: Any) -> "Evaluation":
        """Measure samples, as `present` or `read_samples` returned them, against raw data.

        Options are `n`, `seed`, `ema`, `source` and `poll` of `gendi.evaluate.vectors.evaluate_rows`, and those that
        `evaluation_options` names.
        """

    def preview(self, rows: "NDArray[Any]") -> bytes:
        """Return a picture, a PNG, of decoded rows."""
        raise NotImplementedError(f"{type(self).__name__} has no preview")

    def preview_bytes(self, codec: "Codec", n: int) -> int:
        """Return about how many bytes a preview of n rows takes; 0 without previews."""
        return 0

    def usage(self, codec: "Codec", own: SampleConfig) -> str:
        """Return the lines of Python on the card of a bundle that draw from it; `own` are the model's settings."""
        return (
            'import gendi\nsamples = gendi.sample("path/to/this/folder", n=500)  # as the training data'
            f"{f': {self.objects}' if self.objects else ''}"
        )


# ------------------------------------------------------------------------------------------------------ where kinds are

KINDS: Registry[Kind] = Registry("kind of data", "gendi.kinds", {})
"""The kinds by name. Those that come with gendi are announced from above (`gendi/__init__.py`); your own come in by
`register`, or by the entry points `gendi.kinds` of an installed package."""
_REST: list[str] = []


def announce(name: str, address: str, *, rest: bool = False) -> None:
    """Make a kind that comes with gendi known by its name and the address of its `Kind`, which is loaded when it is
    first needed. With `rest`, data that no kind claims are of this one.
    """
    KINDS.announce(name, address)
    if rest:
        _REST[:] = [name]


def kind_of(name: str) -> Kind:
    """Return a kind by its name, or by the `kind` of one of its codecs. Raises `UsageError` for an unknown one."""
    return KINDS.find(name.partition("-")[0])


def claimed_by(spec: object) -> Kind | None:
    """Return the kind whose prefix a spec has or which claims it; None if that is nobody, or who takes the rest.

    Installed packages are looked through only for what no other kind knows.
    """
    if isinstance(spec, str) and not spec:
        return None
    known = KINDS.at_hand()
    kinds, rest = ([KINDS[name] for name in known if (name in _REST) is last] for last in (False, True))
    for kind in (*kinds, *rest):
        if _has_prefix(kind, spec):
            return None if kind in rest else kind
    for kind in kinds:
        if kind.claims(spec):
            return kind
    if any(kind.claims(spec) for kind in rest):
        return None
    strangers = (_loaded(name) for name in KINDS if name not in known)
    return next((kind for kind in strangers if kind and (_has_prefix(kind, spec) or kind.claims(spec))), None)


def find_kind(spec: object) -> Kind:
    """Return the kind of data that a text or an object names. Raises `UsageError` for an object that nobody claims."""
    found = claimed_by(spec)
    if found is not None:
        return found
    if not isinstance(spec, str):
        kinds = [KINDS[name] for name in KINDS.at_hand()]
        names = ["a name", "a path", *(kind.objects for kind in kinds if kind.objects)]
        raise UsageError(f"data are {', '.join(names[:-1])} or {names[-1]}; this is a {type(spec).__name__}.")
    return KINDS[_REST[0]]


def default_preset(spec: object) -> str:
    """Return the preset for the data that a text or an object names. Raises `UsageError` as `find_kind`."""
    return find_kind(spec).preset


def _has_prefix(kind: Kind, spec: object) -> bool:
    return isinstance(spec, str) and prefix_of(spec) in (kind.prefixes or (kind.name,))


def _loaded(name: str) -> Kind | None:
    """Return a kind that a package offers; None, with a warning, if the package cannot be imported."""
    try:
        return KINDS[name]
    except Exception as error:  # a stranger's package may fail in any way, and this data set may be none of its
        warnings.warn(f"The kind of data {name!r} of an installed package cannot be loaded: {error}", stacklevel=3)
        return None
