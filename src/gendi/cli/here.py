"""`gendi` alone, in the folder of a run: what this run is, and what to do next."""

import contextlib
from pathlib import Path
from typing import Any

from gendi.cli.console import program, show, table
from gendi.cli.runs import describe
from gendi.errors import BundleError
from gendi.machine.units import duration_in_words
from gendi.train.kept.stored import stored_tables

NEXT = {
    "sample . --n 64": "a grid of pictures, or rows in the data's own form",
    "evaluate .": "how good they are, beside real ones",
    "report .": "one page with everything: report.html",
}
BEFORE = {
    "info .": "its settings and its state",
    "report .": "a page of how far it came: report.html",
    "verify .": "whether all its files are sound",
}
"""What can be done before there is a model."""


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
    show(table([(f"{program()} {command}", about) for command, about in commands.items()]))
    show(f"\n{program()} --help lists all commands.")
    return True
