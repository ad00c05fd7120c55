"""`Kind`: the contract that each kind of data keeps. `gendi.data.kinds` says where kinds are found.

The module of a kind should import NumPy and torch only inside its methods, as this module does, so that the command
line stays quick.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gendi.data.sources import SPLIT_BY, ending_of, split_spec
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import SampleConfig
from gendi.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from gendi.data.codec import Codec
    from gendi.data.dataset import Data
    from gendi.data.split import Loaded
    from gendi.evaluate.gauge import Gauge, GaugeChoice
    from gendi.evaluate.result import Evaluation
    from gendi.evaluate.vectors import Privacy
    from gendi.machine.stopping import Poll

    Texts = Callable[[int, int], Mapping[str, str]]


class Kind(ABC):
    """One kind of data. All methods have useful defaults but `codecs`, `open_path`, `fit`, `write` and `evaluate`."""

    name: ClassVar[str]
    """A word without a hyphen. The names of the codecs of this kind are this word, or begin with it and a hyphen."""
    title: ClassVar[str]
    """What messages call data of this kind, in the plural: pictures, cells, tables."""
    preset: ClassVar[str]
    """The preset for such data if the user names none."""
    suffixes: ClassVar[tuple[str, ...]]
    """Endings of the files that samples are written to; the first is the usual one."""
    attacked: ClassVar[bool] = False
    """Whether `privacy` can attack samples of this kind."""
    prefixes: ClassVar[tuple[str, ...]] = ()
    """The prefixes, before the colon, of specs of such data; by default the name of the kind."""
    endings: ClassVar[tuple[str, ...]] = ()
    """Endings of files that hold such data."""
    objects: ClassVar[str] = ""
    """What messages call the objects in memory that can be such data, "a DataFrame"; empty if there are none."""
    separator: ClassVar[str] = ""
    """What stands between the places in a spec that names several; empty if such data lie at one place."""
    source_options: ClassVar[tuple[str, ...]] = ()
    """The options after the question mark of a spec for which the command line has flags."""
    noun: ClassVar[str] = "rows"
    """What messages call the rows."""
    pictures: ClassVar[bool] = False
    """Whether rows are pictures, bytes (H, W, C), which can be resized, shown and edited."""
    previews: ClassVar[bool] = False
    """Whether `preview` can show samples during training."""
    options: ClassVar[type | None] = None
    """The dataclass of the options of `fit`. The run's configuration has them as a table with the name of the kind."""
    derived_names: ClassVar[tuple[str, ...]] = ()
    """The names of conditions that are computed from the rows, as users write them: `low-res:F`."""
    without_conditions: ClassVar[str] = ""
    """The end of a sentence that says how to add conditions to data without any."""
    made: ClassVar[bool] = False
    """Whether specs name data that are made when they are opened, instead of a place; a run is called by that name."""
    evaluation_options: ClassVar[tuple[str, ...]] = ()
    """The names of further options of `evaluate`."""
    evaluates_together: ClassVar[bool] = False
    """Whether several processes call `evaluate` together and share its work; if not, only the first one calls it."""
    check_command: ClassVar[str] = "data check"
    """The command that looks at data of this kind before training."""
    keeps_settings: ClassVar[bool] = False
    """Whether the files that `write` writes say how samples were drawn."""

    # --- recognising and opening

    def claims(self, spec: object) -> bool:
        """Return whether a text without a prefix, or an object, names such data; by default, the ending decides."""
        return isinstance(spec, str) and ending_of(spec) in self.endings

    def place(self, spec: str) -> tuple[str, dict[str, str]]:
        """Return the place that a spec names and the options of its reader. Raises `UsageError` as `split_spec`."""
        place, options = split_spec(spec, self.prefixes or (self.name,))
        options.pop(SPLIT_BY, None)  # how rows are held out, which is none of the reader's business
        return place, options

    def preset_for(self, spec: Any, size: tuple[int, int] | None) -> tuple[str, str]:
        """Return the preset for the data that a text or an object names, and what decided it in a few words.

        By default it is the same for all, and nothing is said. Pictures are brought to `size` if it is given. Data that
        cannot be read are no error here.
        """
        return self.preset, ""

    def files(self, spec: str) -> tuple[Path, ...]:
        """Return the files and folders on this machine that a spec names, whether or not they exist."""
        return (Path(self.place(spec)[0]),)

    def open(self, spec: Any, size: tuple[int, int] | None = None, max_bad: int | None = None) -> "Loaded":
        """Read the data that `spec` names. Pictures are resized to `size`; at most `max_bad` bad files are skipped.

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
        """Read the data in an object in memory that this kind claims."""
        raise UsageError(f"{self.title} are read from files, and this is a {type(thing).__name__}.")

    def check(self, spec: str, **options: Any) -> Any:
        """Open data as training would and return a report on them. Raises `UsageError` if the kind has no check."""
        raise UsageError(f"There is no check of {self.title}: gendi train checks {spec} when it reads it.")

    def grouped(
        self,
        data: "Data",
        conditions: Sequence[ConditionConfig],
        seed: int,
        options: Any,
        before: "Codec | None" = None,
        own: bool = False,
    ) -> "Data":
        """Return raw data, perhaps with a further condition that the kind finds by itself; by default there is none.

        Args:
            data: raw data.
            conditions: the conditions that the network is given.
            seed: the seed of random draws.
            options: the options of the kind (`options`).
            before: the codec of the run that goes on, or of the source of its weights; None for a new run.
            own: whether `before` is the codec of this run.
        """
        return data

    def parts(self, data: "Data") -> Sequence[tuple[str, str, str]]:
        """Return the parts of a row, such as the columns of a table: the name of each, its kind, and what it holds.

        The plan of a dry run lists them. By default there are none.
        """
        return ()

    # --- the codec, and what happens to rows on their way to it

    @abstractmethod
    def codecs(self) -> "Mapping[str, type[Codec]]":
        """Return the codec classes of this kind by their `kind`."""

    def fit(self, data: "Data", conditions: Sequence[ConditionConfig], seed: int, options: Any) -> "Codec":
        """Fit a codec to the training rows of raw data.

        Args:
            data: as `gendi.data.open_data` returned them.
            conditions: the conditions that the network is given for each row.
            seed: the key of all random draws.
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
        """Return raw rows (B, ...) and raw conditions as training step `step` sees them; by default unchanged.

        Args:
            rows: raw rows (B, ...).
            cond: their raw conditions by name.
            seed: the seed of the run. Draws are keyed by the seed and the step, so that a resumed run repeats them.
            step: the training step.
            batch_size: the number of rows of the whole batch.
            part: the places of `rows` in the whole batch.
            options: `flip` and `crop` of the run's configuration.
        """
        return rows, dict(cond)

    def variants(self, rows: "Tensor", *, flip: bool, crop: float) -> "list[Tensor]":
        """Return raw rows (B, ...) in every form that training should see, for a codec that encodes them `once`.

        By default that is the rows alone. Raises `UsageError` for augmentation that cannot be done in advance.
        """
        return [rows]

    def derived_condition(self, name: str, codec: "Codec | None") -> ConditionConfig | None:
        """Return the condition `name` if it is one that is computed from the rows, else None. Raises `UsageError`."""
        return None

    def derived(self, specs: Sequence[ConditionConfig], x_0: "Tensor") -> "dict[str, Tensor]":
        """Return by name the conditions among `specs` that are computed from encoded rows x_0."""
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
            codec: the codec that decoded the rows.
            rows: decoded rows (n, ...).
            cond: the conditions of the samples by name.
            specs: what these conditions are.
            latent: the samples in model space, (n, *shape).
            provenance: how the samples were drawn.
        """
        return rows

    @abstractmethod
    def write(self, path: Path, samples: Any, texts: "Texts | None" = None, first: int = 0) -> None:
        """Write what `present` returned; a failure leaves no partial file.

        Args:
            path: where to write.
            samples: what `present` returned.
            texts: given for a kind that `keeps_settings`. Called with n and the number of the first sample of a file,
                it returns the texts by name to keep in this file of n samples.
            first: the number of the first sample.

        Raises:
            UsageError: a path with another ending.
            ResourceError: the disk is full or refuses.
        """

    def usual_suffix(self, codec: "Codec") -> str:
        """Return the ending of the file that samples are written to where the user names none."""
        return self.suffixes[0]

    def check_destination(self, path: Path, n: int, codec: "Codec") -> None:
        """Raise `UsageError` if n samples cannot be written to `path`; called before the work starts."""
        if path.suffix not in self.suffixes:
            known = " or ".join(f"NAME{suffix}" for suffix in self.suffixes)
            raise UsageError(f"--out {path}: these samples are written as {known}.")
        if path.is_dir():
            raise UsageError(f"--out {path} is a folder. Choose another name.")

    def read_samples(self, path: Path) -> Any:
        """Return the samples in a file in the form that `evaluate` takes; by default, that is the path."""
        return path

    def evaluated_file(self, run: Path) -> Path:
        """Return the file in which a run keeps the samples that were evaluated."""
        return run / f"evaluated{self.suffixes[0]}"

    @abstractmethod
    def evaluate(self, samples: Any, data: "Data", **options: Any) -> "Evaluation":
        """Evaluate samples, as `present` or `read_samples` returned them, against raw data.

        The options are `n`, `seed`, `ema`, `source` and `poll`, as `gendi.evaluate.vectors.evaluate_rows` describes
        them, and those that `evaluation_options` names.
        """

    def privacy(self, samples: Any, data: "Data", **options: Any) -> "Privacy":
        """Attack samples to learn which rows were trained on; see `gendi.evaluate.vectors.privacy`.

        The options are `seed` and `poll`. Raises `UsageError` for kinds that have no such attack.
        """
        raise UsageError(
            f"Attacks on privacy are for tables and cells, not for {self.title}. gendi evaluate measures whether "
            "samples are copies, or nearer to training data than held-out data are."
        )

    def choose_gauge(self, data: "Data", seed: int, spare: float, poll: "Poll | None" = None) -> "GaugeChoice":
        """Choose, once in a run, the features by which its samples are measured, and ask which fakes they miss.

        By default the features are the usual ones, and no fakes are asked about. `gauge` is called with a choice of
        other features as `features`, and with `poll`.

        Args:
            data: raw data.
            seed: the seed of random draws.
            spare: the floating-point operations that the run can spend on learning features.
            poll: called between parts; raises to stop.
        """
        from gendi.evaluate.gauge import GaugeChoice

        return GaugeChoice()

    def gauge(self, data: "Data", seed: int) -> "Gauge":
        """Return what measures samples quickly while a model trains, with random draws from `seed`.

        It is given decoded rows, before `present`. By default it measures the energy distance and the train-likeness of
        the numbers in them (`gendi.evaluate.vectors.quick`).

        Raises:
            UsageError, DataError: too few rows to measure samples with; the run then trains without quick metrics.
        """
        from gendi.evaluate.vectors.quick import row_gauge

        return row_gauge(data.train, data.heldout, seed)

    def preview(self, rows: "NDArray[Any]") -> bytes:
        """Return a PNG file that shows decoded rows."""
        raise NotImplementedError(f"{type(self).__name__} has no preview")

    def preview_bytes(self, codec: "Codec", n: int) -> int:
        """Return about how many bytes a preview of n rows takes; 0 if the kind has no previews."""
        return 0

    def usage(self, codec: "Codec", own: SampleConfig) -> str:
        """Return the Python code for drawing samples on the card of a bundle; `own` are the model's settings."""
        return (
            'import gendi\nsamples = gendi.sample("path/to/this/folder", n=500)  # as the training data'
            f"{f': {self.objects}' if self.objects else ''}"
        )
