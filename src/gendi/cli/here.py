"""`gendi` alone, in the folder of a run: what this run is, and what to do next."""

import contextlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendi.cli.console import program, show, table
from gendi.cli.runs import describe
from gendi.data.places import begun_in
from gendi.diffusion.gaussian.config import STUDENTS
from gendi.errors import BundleError
from gendi.machine.units import duration_in_words
from gendi.train.kept.as_flags import student_command, train_command
from gendi.train.kept.stored import stored_config, stored_tables

NEXT = {
    "sample . --n 64": "a grid of pictures, or rows in the data's own form",
    "evaluate .": "how good they are, beside real ones",
    "report .": "one page with everything: report.html",
}
BEFORE = {
    "info .": "its settings and its state",
    "report .": "one page that shows its progress: report.html",
    "verify .": "whether all its files are sound",
}
"""What can be done before there is a model."""
STOPPED = ("interrupted", "preempted", "failed", "dead")
"""The statuses of runs whose training was stopped."""


def about_this_run(folder: Path = Path()) -> bool:
    """Print what the run in a folder is and three commands; return False, and print nothing, where there is no run."""
    tables: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(BundleError):
        tables = stored_tables(folder)
    config, data = tables.get("config", {}), tables.get("data", {})
    if "network" not in config or "spec" not in data:  # a config.toml of something else
        return False
    found = describe(folder)
    images, metric, done = found["images"], found["metric"], found["progress"]
    facts = [
        ("data", data.get("name") or data["spec"]),
        ("preset", config.get("preset")),
        ("status", found["status"] + ("" if done is None else f", {done:.0%} of its budget")),
        ("images seen", None if images is None else f"{images:,}"),
        ("training time", None if found["seconds"] is None else duration_in_words(found["seconds"])),
        ("last figure", None if metric is None else f"{metric['name']} {metric['value']:.4g}"),
        ("verdict", found["verdict"]),
    ]
    show(f"This folder is a run of gendi: {folder.resolve().name}")
    show(table([fact for fact in facts if fact[1] is not None]))
    show("next:")
    commands = NEXT if (folder / "bundle").is_dir() else BEFORE
    lines = [(f"{program()} {command}", about) for command, about in commands.items()]
    if found["status"] in STOPPED and (going_on := _going_on(folder, tables)):
        show(f"  {going_on}\n    continues the training")
        del lines[-1]
    show(table(lines))
    show(f"\n{program()} --help lists all commands.")
    return True


def _going_on(folder: Path, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the command that goes on with the training of a run, in the folder in which it was begun; "" if that
    cannot be told.
    """
    spec, start = tables["data"]["spec"], tables.get("start", {}).get("from")
    with contextlib.suppress(BundleError):
        config, home = stored_config(folder), begun_in(spec, folder).resolve()
        size = tables["data"].get("size")
        out = os.path.relpath(folder.resolve(), home)
        budget = dict(tables.get("budget", {}))
        if config.objective.loss in STUDENTS:
            words = [] if not isinstance(start, str) else student_command(start, config, budget, out)
        else:
            words = train_command(spec, config, [size] * 2 if isinstance(size, int) else size, budget, out)
            words += ["--from", shlex.quote(start)] if isinstance(start, str) else []
        there = "" if home == Path().resolve() else f"cd {shlex.quote(os.path.relpath(home))} && "
        return f"{there}{' '.join(words)}" if words else ""
    return ""
