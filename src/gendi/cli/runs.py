"""`gendi runs`, and what the commands know of a run's folder before anything heavy is imported."""

import contextlib
import difflib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from gendi.cli.console import show, show_json, table
from gendi.cli.evaluation_file import NEWEST, other_files
from gendi.cli.parse import named, parse
from gendi.cli.standings import in_words, standings
from gendi.cli.values import format_duration
from gendi.errors import BundleError, Mend, UsageError
from gendi.machine.units import format_bytes
from gendi.storage.edited import read_table_if_there
from gendi.storage.files import atomic_write, encode_json
from gendi.storage.plain import plain
from gendi.storage.record import RunRecord, is_run
from gendi.train.kept.folders import near_models
from gendi.train.kept.stored import stored_tables

MAX_EVALUATION = 2**28
"""The size in bytes above which an evaluation.json is not read."""


def require_run(path: Path) -> Path:
    """Return `path` if it is a run's folder. Raises `UsageError` naming the runs beside it otherwise."""
    if (path / "config.toml").is_file():
        return path
    beside = path.parent if path.parent.is_dir() else Path("runs")
    runs = sorted(str(found.parent) for found in beside.glob("*/config.toml"))
    known = f" Runs there are: {', '.join(runs[:8])}." if runs else " `gendi train DATA` makes one."
    what = "is no run: it has no config.toml" if path.exists() else "does not exist"
    near = dict.fromkeys((*difflib.get_close_matches(str(path), runs, n=1), *near_models(path)))
    raise UsageError(f"{path} {what}.{known}").mended_by(*(Mend(put={str(path): name}) for name in near))


def read_config(run: Path) -> dict[str, Any]:
    """Return the content of a run's config.toml. Raises `UsageError`."""
    return dict(stored_tables(require_run(run)))


def read_metrics(run: Path) -> dict[str, dict[str, Any]] | None:
    """Return the metrics in a run's evaluation.json by name, each with its numbers; None if there are none.

    Raises `BundleError` if the file is damaged.
    """
    return _metrics_of(_table_of(run / NEWEST), run / NEWEST)


def _table_of(path: Path) -> dict[str, Any]:
    return dict(read_table_if_there(path, {"metrics": (dict,)}, MAX_EVALUATION) or {})


def _metrics_of(found: dict[str, Any], path: Path) -> dict[str, dict[str, Any]] | None:
    metrics = found.get("metrics") or None
    for name, metric in (metrics or {}).items():
        numbers = [metric.get("value"), metric.get("floor")] if isinstance(metric, dict) else [name]
        if not all(value is None or type(value) in (int, float) for value in numbers):
            raise BundleError(f"{path}: the metric {name!r} has no number and no floor: it was edited.")
    return metrics


def update_timings(run: Path, **fields: Any) -> None:
    """Set fields of a run's timings.json: how long training, sampling and measuring took, in seconds.

    A folder that holds a bundle and is no run has no such file.
    """
    path = run / "timings.json"
    if not is_run(run):
        return
    try:
        old = read_table_if_there(path) or {}
    except BundleError:
        old = {}
    RunRecord(run).claim(path)
    atomic_write(path, encode_json(plain({**old, **fields})))


EXAMPLES = """\
  gendi runs
  gendi runs /scratch/me --json"""


@dataclass(frozen=True)
class Runs:
    """List the runs in a folder: their status, progress, last metric and size on disk."""

    folder: Annotated[tyro.conf.Positional[str], named("FOLDER")] = "runs"
    """Where to look: the runs in it, or a single run."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Runs, args, "gendi runs", EXAMPLES)
    folder = Path(command.folder)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder. `gendi train DATA` writes into runs/ unless --out says otherwise.")
    places = (
        [folder]
        if (folder / "config.toml").is_file()
        else sorted(path.parent for path in folder.glob("*/config.toml") if path.is_file())
    )
    found = [describe(place) for place in places]
    if command.json:
        show_json({"folder": str(folder), "runs": found, "standings": _standings(places, found)})
        return 0
    if not found:
        show(f"There is no run in {folder}.")
        return 0
    head = ("run", "status", "age", "step", "images", "done", "metric", "verdict", "disk")
    rows = [row for entry in found for row in (_row(entry), *map(_row_of_other, entry["evaluations"]))]
    show(_without_empty(rows, head, "verdict"))
    for standing in _standings(places, found):
        show(in_words(standing))
    return 0


def _standings(places: Sequence[Path], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return standings(places, [None if entry["metric"] is None else entry["metric"]["name"] for entry in found])


def describe(run: Path) -> dict[str, Any]:
    """Return what a run's files say of it; what is damaged or missing is None, the status then "unreadable"."""
    from gendi.train.kept.status import last_verdict, read_status

    try:
        status = read_status(run) or {}
    except BundleError:
        status = {"status": "unreadable"}
    name, size = status.get("status", "not begun"), 0
    for root, _, names in os.walk(run):  # passes over folders that cannot be read
        for file in names:
            with contextlib.suppress(OSError):  # a run at work tidies up
                size += (Path(root) / file).stat().st_size
    if name == "running" and not held(run):
        name = "dead"
    lines = lines_of(run)
    written = run / ("status.json" if (run / "status.json").exists() else "config.toml")
    return {
        "run": str(run),
        "status": name,
        "age_seconds": max(0.0, time.time() - written.stat().st_mtime),
        "step": status.get("step"),
        "images": status.get("images"),
        "progress": status.get("progress"),
        "seconds": status.get("seconds"),
        "metric": _metric(run, lines),
        "evaluations": _others(run),
        "verdict": last_verdict(lines),
        "bytes": size,
    }


def held(run: Path) -> bool:
    """Whether a living process on this machine, or any on a disk that tells, holds the run's lock."""
    from gendi.storage.lock import is_held

    return is_held(run)


def lines_of(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl; none if the file is not there or cannot be read."""
    from gendi.train.kept.status import read_lines

    try:
        return read_lines(run / "metrics.jsonl")
    except BundleError:
        return []


def _metric(run: Path, lines: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first that there is of: the FID with its floor, any metric, the last held-out loss, the last loss."""
    try:
        metrics = read_metrics(run)
    except BundleError:
        metrics = None
    if metrics:
        return _first(metrics)
    for field, name in (("heldout", "held-out loss"), ("loss", "loss")):
        if values := [line[field] for line in lines if line.get(field) is not None]:
            return {"name": name, "value": values[-1], "floor": None}
    return None


def _first(metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the metric to show: a Fréchet distance that is a grade, any, or else the first metric."""
    distances = [name for name in metrics if name.startswith("fid-")]
    graded = [name for name in distances if metrics[name].get("graded") is not False]
    name = next(iter([*graded, *distances, *metrics]))
    return {"name": name, **{key: metrics[name].get(key) for key in ("value", "interval", "floor")}}


def _others(run: Path) -> list[dict[str, Any]]:
    """Return what is said of the evaluations that stand beside the newest one; damaged ones are left out."""
    found = []
    for path in other_files(run):
        try:
            table = _table_of(path)
            metrics = _metrics_of(table, path)
        except BundleError:
            continue
        if metrics:
            source = table.get("source")
            source = source if isinstance(source, dict) else {}
            how = {key: source.get(key) for key in ("sampler", "steps", "seed")}
            found.append({"file": str(path), "n": table.get("n"), **how, "metric": _first(metrics)})
    return found


def _row_of_other(entry: dict[str, Any]) -> tuple[object, ...]:
    how = " ".join(str(entry[key]) for key in ("sampler", "steps") if entry[key] is not None)
    label = f"  also at n = {entry['n']}" + (f", {how}" if how else "")
    metric = entry["metric"]
    return (label, *5 * (None,), None if metric["value"] is None else f"{metric['name']} {_number(metric)}", None, None)


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    metric, done = entry["metric"], entry["progress"]
    return (
        entry["run"],
        entry["status"],
        format_duration(round(entry["age_seconds"])),
        entry["step"],
        entry["images"],
        None if done is None else f"{done:.0%}",
        None if metric is None or metric["value"] is None else f"{metric['name']} {_number(metric)}",
        entry["verdict"],
        format_bytes(entry["bytes"]),
    )


def _without_empty(rows: list[tuple[object, ...]], head: tuple[str, ...], column: str) -> str:
    """Return the rows as a table, without the column of the name `column` if it is empty."""
    at = head.index(column)
    if all(row[at] is None for row in rows):
        head, rows = head[:at] + head[at + 1 :], [row[:at] + row[at + 1 :] for row in rows]
    return table(rows, head, indent="")


def _number(metric: dict[str, Any]) -> str:
    """Return a metric's value, with half of its interval's width if it has one: "0.27 ± 0.09"."""
    match metric.get("interval"):
        case [float() | int() as low, float() | int() as high]:
            return f"{metric['value']:.4g} ± {(high - low) / 2:.2g}"
    return f"{metric['value']:.4g}"
