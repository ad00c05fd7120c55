"""What `gendi train` prints: the plan of a dry run, and what there is at the end of a run and can be done with it."""

import dataclasses
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendi.cli.console import program, say, show, show_json, table
from gendi.cli.parse import understood
from gendi.cli.train_flags import Train
from gendi.cli.values import format_count, format_duration
from gendi.errors import Mend
from gendi.machine.units import format_bytes
from gendi.train.config import RunConfig

if TYPE_CHECKING:
    from gendi.train.job import TrainResult


def tell_end(command: Train, args: Sequence[str], run: Path, result: "TrainResult") -> None:
    """Say what a run that ended has done, and what to type next."""
    if command.json:
        show_json(dataclasses.asdict(result))
        return
    if result.already_finished:
        show(f"{run} is finished: {result.step:,} steps in {format_duration(result.seconds)}.", needed=False)
        more = "Without --stop-when-level, it continues" if result.level else "A larger budget continues it"
        say(f"{more}; --fresh starts over; --out begins another run.")
    else:
        text = f"{run}: {result.step:,} steps, {result.images:,} images in {format_duration(result.seconds)}"
        show(text, needed=False)
    name, where = program(), shlex.quote(str(run))
    lines = [f"{name} sample {where} --n 64", f"{name} evaluate {where}", f"{name} report {where}"]
    if not result.level and (words := _with_more(command, args)):
        lines.append(f"{name} {shlex.join(words)}    continues, to twice the budget")
    say("\n  ".join(["next:", *lines]))


def _with_more(command: Train, args: Sequence[str]) -> list[str]:
    """Return the words of the command with twice the budget; none for a run of several processes."""
    from gendi.cli.mending import changed

    if os.environ.get("WORLD_SIZE", "1") != "1":
        return []
    [(kind, amount)] = command.limits().items()
    flag, show_ = ("--max-time", format_duration) if kind == "seconds" else (f"--{kind}", format_count)
    return changed(["train", *understood(args, Train)], Mend(drop=("--fresh",), add=(flag, show_(2 * amount))))


def show_plan(plan: dict[str, Any], limits: dict[str, Any], json: bool) -> None:
    """Print what a dry run found, and the configuration; as one JSON object if asked for."""
    if json:
        show_json(plan)
        return
    data, choice = plan["data"], plan["choice"]
    each = format_bytes(plan["snapshot_bytes"])
    rows = [
        (
            "data",
            f"{data['name']}: {data['train']:,} rows of {data['row']}; {data['heldout']:,} held out",
        ),
        ("run", plan["run"]),
        ("budget", ", ".join(format_duration(v) if k == "seconds" else f"{v:,} {k}" for k, v in limits.items())),
        ("parameters", f"{plan['parameters']:,}"),
        ("forward pass", f"{plan['flops_per_image'] / 1e6:,.1f} MFLOP per image"),
        ("speed", f"{plan['images_per_second']:,.0f} images/s at batch {plan['batch_size']}"),
        ("arithmetic", choice["reason"]),
        ("checkpoint", format_bytes(plan["checkpoint_bytes"])),
    ]
    if data["smoothing"]:
        rows.append(("smoothing", data["smoothing"]))
    if plan["snapshots"]:
        rows.append(("snapshots", f"about {plan['snapshots']:,} of {each} each, for gendi ema"))
    rows.append(("disk", format_bytes(plan["disk_bytes"])))
    show(table(rows, indent=""))
    for note in data["notes"]:
        show(f"note: {note}")
    if data["parts"]:
        show(f"\n{len(data['parts']):,} columns\n{table(data['parts'])}")
    from gendi.storage.toml import dump_toml

    config = RunConfig.from_dict(plan["config"]).concerning(data["kind"])
    show(f"\n{dump_toml(config)}".rstrip())
