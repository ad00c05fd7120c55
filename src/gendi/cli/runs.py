"""`gendi runs`, and what the commands know of a run's folder before anything heavy is imported."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from gendi.cli.console import show, show_json, table
from gendi.cli.parse import named, parse
from gendi.cli.standings import in_words, standings
from gendi.cli.values import format_duration
from gendi.errors import BundleError, UsageError
from gendi.machine.units import format_bytes
from gendi.storage.files import atomic_write, encode_json, read_json
from gendi.storage.toml import read_toml


def require_run(path: Path) -> Path:
    """Return `path` if it is a run's folder. Raises `UsageError` naming the runs beside it otherwise."""
    if (path / "config.toml").is_file():
        return path
    beside = path.parent if path.parent.is_dir() else Path("runs")
    runs = sorted(str(found.parent) for found in beside.glob("*/config.toml"))
    known = f" Runs there are: {', '.join(runs[:8])}." if runs else " `gendi train DATA` makes one."
    what = "is no run: it has no config.toml" if path.exists() else "is not there"
    raise UsageError(f"{path} {what}.{known}")


def read_config(run: Path) -> dict[str, Any]:
    """Return the content of a run's config.toml. Raises `UsageError`."""
    return read_toml(require_run(run) / "config.toml")


def read_json_if_there(path: Path) -> Any:
    """Return the content of a JSON file, None if there is none. Raises `BundleError` if it is damaged."""
    return read_json(path) if path.is_file() else None


def update_timings(run: Path, **fields: Any) -> None:
    """Set fields of a run's timings.json: how long training, sampling and measuring took, in seconds."""
    path = run / "timings.json"
    try:
        old = read_json(path) if path.is_file() else {}
    except BundleError:
        old = {}
    atomic_write(path, encode_json({**(old if isinstance(old, dict) else {}), **fields}))


EXAMPLES = """\
  gendi runs
  gendi runs /scratch/me --json"""


@dataclass(frozen=True)
class Runs:
    """List the runs in a folder: what they do, how far they came, how good they are, what room they take."""

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
    places = [folder] if (folder / "config.toml").is_file() else sorted(p.parent for p in folder.glob("*/config.toml"))
    found = [describe(place) for place in places]
    if command.json:
        show_json({"folder": str(folder), "runs": found, "standings": _standings(places, found)})
        return 0
    if not found:
        show(f"There is no run in {folder}.")
        return 0
    head = ("run", "status", "age", "step", "images", "done", "metric", "disk")
    show(table([_row(entry) for entry in found], head, indent=""))
    for standing in _standings(places, found):
        show(in_words(standing))
    return 0


def _standings(places: Sequence[Path], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return standings(places, [None if entry["metric"] is None else entry["metric"]["name"] for entry in found])


def describe(run: Path) -> dict[str, Any]:
    """Return what a run's files say of it; what is damaged or missing is None, the status then "unreadable"."""
    try:
        status = read_json_if_there(run / "status.json")
    except BundleError:
        status = {"status": "unreadable"}
    status = status if isinstance(status, dict) else {}
    name, size = status.get("status", "not begun"), 0
    files = [path for path in run.rglob("*") if path.is_file()]
    for path in files:
        try:
            size += path.stat().st_size
        except FileNotFoundError:  # a run at work tidies up
            continue
    if name == "running" and not held(run):
        name = "dead"
    written = run / ("status.json" if (run / "status.json").exists() else "config.toml")
    return {
        "run": str(run),
        "status": name,
        "age_seconds": max(0.0, time.time() - written.stat().st_mtime),
        "step": status.get("step"),
        "images": status.get("images"),
        "progress": status.get("progress"),
        "seconds": status.get("seconds"),
        "metric": _metric(run),
        "bytes": size,
    }


def held(run: Path) -> bool:
    """Whether a living process on this machine, or any on a disk that tells, holds the run's lock."""
    from gendi.storage.lock import is_held

    return is_held(run)


def _metric(run: Path) -> dict[str, Any] | None:
    """Return the first that there is of: the FID with its floor, any metric, the last held-out loss, the last loss."""
    try:
        evaluation = read_json_if_there(run / "evaluation.json")
    except BundleError:
        evaluation = None
    metrics = evaluation.get("metrics") if isinstance(evaluation, dict) else None
    if isinstance(metrics, dict) and metrics:
        name = next((name for name in metrics if name.startswith("fid-")), next(iter(metrics)))
        return {"name": name, **{key: metrics[name].get(key) for key in ("value", "interval", "floor")}}
    from gendi.train.status import read_lines

    lines = read_lines(run / "metrics.jsonl")
    for field, name in (("heldout", "held-out loss"), ("loss", "loss")):
        if values := [line[field] for line in lines if line.get(field) is not None]:
            return {"name": name, "value": values[-1], "floor": None}
    return None


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
        format_bytes(entry["bytes"]),
    )


def _number(metric: dict[str, Any]) -> str:
    """Return a metric's value, with half of its interval's width if it has one: "0.27 ± 0.09"."""
    match metric.get("interval"):
        case [float() | int() as low, float() | int() as high]:
            return f"{metric['value']:.4g} ± {(high - low) / 2:.2g}"
    return f"{metric['value']:.4g}"
