"""The result of an evaluation: metrics with their floors, and everything that fixes their scale."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

from gendi.errors import DataError, UsageError
from gendi.evaluate.class_records import ClassRecord
from gendi.evaluate.table import NO_GRADE, Row, Table
from gendi.machine.tables import cell, html_card
from gendi.storage.plain import plain

VERSION = 1
Better = Literal["lower", "higher", "closest"]
"""Which values of a metric are better; `closest` means closest to its `ideal`."""
Interval = tuple[float, float]
"""The lower and the upper end of a 95% confidence interval."""
Gate = tuple[float | None, float | None]
"""The lowest and the highest value that passes; None is an open end."""
GENDI_REPORT = {"fid-inception": 22.58, "confidence": 0.9305}
"""Figures of the GENDI report for 1000 samples of MNIST; the confidence is that of the report's own classifier."""
GENDI_REPORT_SAMPLES = 1000


class Estimate(NamedTuple):
    """A value with its standard error and 95% interval; None where they cannot be computed."""

    value: float | None
    error: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class Check:
    """How a metric of pictures treats real pictures and fakes that must be caught, equally many of each."""

    n: int
    """Pictures in each set. Fewer than the evaluation's n where that is large, or the data are few."""
    value: float | None
    """The metric of `n` of the samples, on the scale of the gate."""
    gate: Gate
    """The range in which real pictures in the samples' place would lie; in one evaluation of a hundred, one of the
    metrics would not."""
    controls: Mapping[str, float]
    """The metric of the fakes, by their names."""
    missed: tuple[str, ...]
    """Fakes that this metric should catch, and takes for real pictures."""

    @property
    def passed(self) -> bool | None:
        """Whether the samples lie within the gate; None without a value, and where the metric misses a control."""
        return None if self.value is None or self.missed else inside(self.value, self.gate)


def inside(value: float, gate: Gate) -> bool:
    """Return whether a value lies within a gate."""
    low, high = gate
    return (low is None or value >= low) and (high is None or value <= high)


@dataclass(frozen=True)
class Metric:
    """One metric. `value` or `floor` is None where it cannot be computed; a note of the evaluation says why."""

    name: str
    """For instance `fid-digits`; the name of a metric on features ends with that of their extractor."""
    value: float | None
    floor: float | None
    """The same metric with real held-out images in the samples' place."""
    better: Better
    report: float | None = None
    """The figure of the GENDI report for MNIST, if it has one."""
    extractor: str | None = None
    standard_error: float | None = None
    """Standard deviation of `value` over other samples of the same model."""
    ideal: float | None = None
    """The value to come close to, where neither lower nor higher is better."""
    interval: Interval | None = None
    """95% confidence interval of `value`: where it would lie, on average, for other samples of the same model."""
    controls: Mapping[str, float] = field(default_factory=dict)
    """The same metric for fakes that must be caught, by their names."""
    score: float | None = None
    """The value on a scale from the worst control, 0, to the floor, 1."""
    gate: Gate | None = None
    """The range in which real rows in the samples' place would lie; in one evaluation of a hundred, one of the metrics
    would not."""
    floor_error: float | None = None
    """Standard error of `floor`."""
    floor_interval: Interval | None = None
    """95% confidence interval of `floor`."""
    check: Check | None = None
    """What the metric of pictures says of fakes on these data; None where that was not asked."""
    no_grade: str = ""
    """Why the value is no grade of these samples, where it is none for another reason than its check."""

    @classmethod
    def of(cls, name: str, value: Estimate, floor: Estimate, better: Better, **fields: Any) -> Self:
        """Return a metric with the errors and the intervals of its value and its floor; `fields` are the others."""
        return cls(
            name,
            value.value,
            floor.value,
            better,
            standard_error=value.error,
            interval=value.interval,
            floor_error=floor.error,
            floor_interval=floor.interval,
            **fields,
        )

    @property
    def passed(self) -> bool | None:
        """Whether `value` lies within the gate; None where either is missing."""
        return None if self.value is None else self.within(self.value)

    @property
    def as_real(self) -> str | None:
        """Whether samples pass as real rows: "pass" or "FAIL", or "no grade" where fakes would pass too; None where
        that was not asked.
        """
        if not self.graded:
            return NO_GRADE
        passed = self.passed if self.check is None else self.check.passed
        return None if passed is None else "pass" if passed else "FAIL"

    @property
    def worst_control(self) -> str | None:
        """The name of the control with the worst value; None without controls."""
        return max(self.controls, key=lambda name: self.loss(self.controls[name])) if self.controls else None

    def within(self, value: float) -> bool | None:
        """Whether a value lies within the gate; None where there is none."""
        return None if self.gate is None else inside(value, self.gate)

    @property
    def graded(self) -> bool:
        """Whether the value may serve as a grade: no fake that must be caught passes as real on these data, and it is
        not right by construction."""
        return not self.no_grade and (self.check is None or not self.check.missed)

    def loss(self, value: float) -> float:
        """Return how bad a value is: the smaller, the better."""
        if self.better == "closest":
            return abs(value - (self.ideal or 0.0))
        return value if self.better == "lower" else -value


@dataclass(frozen=True)
class ExtractorRecord:
    """A feature extractor, which fixes the scale of the metrics on its features."""

    name: str
    sha256: str
    resize: str
    dimensions: int


@dataclass(frozen=True)
class ClassesRecord:
    """Classes seen in samples and in real held-out images, and the training set's frequencies."""

    names: tuple[str, ...]
    histogram: tuple[int, ...]
    floor_histogram: tuple[int, ...] | None
    frequencies: tuple[float, ...]
    entropy_maximum: float
    classifier_sha256: str
    told: bool = False
    """Whether these samples were drawn class by class, so that the shares are right by construction."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """How many samples that were asked to be of class i are seen as class j, a row for each i; None if no class was
    asked for."""
    expected: tuple[float, ...] | None = None
    """The shares in which the classifier would see the classes in real pictures with the training set's frequencies;
    None if they are not known, and in older evaluations.
    """
    right: float | None = None
    """The share of real held-out pictures of which the classifier sees the class, brought to the training set's
    frequencies; None as above."""
    right_interval: Interval | None = None
    """95% confidence interval of `right`; None as above."""


@dataclass(frozen=True)
class MemorisationRecord:
    """For each sample, the index of the nearest training image and its distance (pixels in [0, 1]).

    `threshold` is the distance below which a sample counts as a near-copy; the medians are of distances.
    """

    neighbours: tuple[int, ...]
    distances: tuple[float, ...]
    threshold: float
    median: float
    heldout_median: float


@dataclass(frozen=True)
class PortraitRecord:
    """The numbers behind pictures of samples and of the real rows beside them: some hundreds of each."""

    dimensions: int
    """Number of principal components of each row."""
    real: tuple[float, ...]
    """The components of real rows, one row after another."""
    fake: tuple[float, ...]
    mean_real: tuple[float, ...]
    """Means by column, as are the variances and the shares of zeros."""
    mean_fake: tuple[float, ...]
    variance_real: tuple[float, ...]
    variance_fake: tuple[float, ...]
    zeros_real: tuple[float, ...]
    """Shares of zeros; empty where the rows are not counts."""
    zeros_fake: tuple[float, ...]
    correlation_real: tuple[float, ...]
    """Correlations of pairs of columns."""
    correlation_fake: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """The result of `gendi.data.images.evaluation.evaluate`; `to_dict` is JSON, `table` is for people."""

    n: int
    seed: int
    data: str
    fingerprint: str
    reference_split: str
    reference_n: int
    floor_split: str
    floor_n: int
    extractors: tuple[ExtractorRecord, ...]
    metrics: tuple[Metric, ...]
    classes: ClassesRecord | None = None
    memorisation: MemorisationRecord | None = None
    portrait: PortraitRecord | None = None
    ema: bool | None = None
    """Whether the samples came from averaged weights; None if that is not known."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """What the caller knows about the samples (run, step, sampler, calls), as it was given."""
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    by_class: tuple[ClassRecord, ...] = ()
    """What cells and tables of several classes are like in each of them."""

    def __getitem__(self, name: str) -> Metric:
        """Return the metric of that name. Raises `UsageError`, which lists the names, if there is none."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise UsageError(f"There is no metric {name!r}; there are {', '.join(m.name for m in self.metrics)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and finite numbers; each metric comes with what fixes its scale."""
        out = dataclasses.asdict(self)
        hashes = {record.name: record for record in self.extractors}
        metrics = {}
        for metric in self.metrics:
            entry = dataclasses.asdict(metric)
            del entry["name"]
            entry |= {
                "n": self.n,
                "seed": self.seed,
                "reference": self.reference_split,
                "reference_n": self.reference_n,
                "floor_n": self.floor_n,
                "ema": self.ema,
                "graded": metric.graded,
            }
            if metric.extractor in hashes:
                record = hashes[metric.extractor]
                entry |= {"sha256": record.sha256, "resize": record.resize}
            metrics[metric.name] = entry
        out["metrics"] = metrics
        return {"version": VERSION, **plain(out)}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` wrote. Raises `DataError` on anything else."""
        try:
            return cls(**_fields(data))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise DataError(f"This is not an evaluation by gendi ({error}). Run `gendi evaluate` again.") from error

    def caught(self) -> dict[str, tuple[str, ...]]:
        """Return for each control the metrics whose gates it fails; a control without any passes as real rows."""
        names = dict.fromkeys(name for metric in self.metrics for name in metric.controls)
        return {
            name: tuple(m.name for m in self.metrics if name in m.controls and m.within(m.controls[name]) is False)
            for name in names
        }

    def table(self) -> Table:
        """Return one row per metric, in the order of `metrics`: a list that prints as a table."""
        return Table(
            Row(m.name, m.value, m.floor, m.better, m.report, m.interval, m.floor_interval, m.as_real)
            for m in self.metrics
        )

    def __repr__(self) -> str:
        first = ", ".join(f"{m.name} {cell(m.value)} (floor {cell(m.floor)})" for m in self.metrics[:2])
        more = f" and {len(self.metrics) - 2} more" if len(self.metrics) > 2 else ""
        return f"Evaluation({self.n:,} samples against {self.data}: {first}{more}; .table() shows all)"

    def _repr_html_(self) -> str:
        facts = {"samples": self.n, "data": self.data, "reference": f"{self.reference_n:,} of {self.reference_split}"}
        return html_card("Evaluation", facts) + self.table()._repr_html_()


_LATER = {"ideal", "interval", "controls", "score", "gate", "floor_error", "floor_interval", "check", "no_grade"}
"""Fields that older evaluations lack."""


def _metric(name: str, entry: Any) -> Metric:
    names = [f.name for f in dataclasses.fields(Metric) if f.name != "name"]
    found = {key: entry[key] for key in names if key in entry or key not in _LATER}
    for key in ("interval", "gate", "floor_interval"):
        if found.get(key) is not None:
            low, high = found[key]
            found[key] = (low, high)
    if (check := found.get("check")) is not None:
        low, high = check["gate"]
        found["check"] = Check(**{**check, "gate": (low, high), "missed": tuple(check["missed"])})
    return Metric(name, **found)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fields(data: Any) -> dict[str, Any]:
    if data["version"] != VERSION:
        raise ValueError(f"version {data['version']!r}, this gendi reads {VERSION}")
    later: dict[str, Any] = {"portrait": None, "by_class": []}  # older evaluations lack them
    out: dict[str, Any] = {f.name: {**later, **data}[f.name] for f in dataclasses.fields(Evaluation)}
    out["metrics"] = tuple(_metric(name, entry) for name, entry in data["metrics"].items())
    out["extractors"] = tuple(ExtractorRecord(**record) for record in data["extractors"])
    kinds: dict[str, type[Any]] = {
        "classes": ClassesRecord,
        "memorisation": MemorisationRecord,
        "portrait": PortraitRecord,
    }
    for key, kind in kinds.items():
        if out[key] is not None:
            out[key] = kind(**{str(k): _tuples(v) for k, v in out[key].items()})
    out["notes"] = tuple(out["notes"])
    out["by_class"] = tuple(ClassRecord(**{str(k): _tuples(v) for k, v in r.items()}) for r in out["by_class"])
    return out
