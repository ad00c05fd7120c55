"""`gendi privacy`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gendi.cli.console import say, show, show_json, table
from gendi.cli.gates import between
from gendi.cli.outputs import Output
from gendi.cli.parse import Folder, Samples, Seed, Text, parse, shows
from gendi.cli.values import format_duration
from gendi.errors import UsageError

if TYPE_CHECKING:
    from gendi.data import Data
    from gendi.evaluate.vectors import Privacy as Attacked

EXAMPLES = """\
  gendi privacy runs/people                             draws three times as many rows as were trained on
  gendi privacy runs/cells --n 5000 --json
  gendi privacy --samples fake.csv --data people.csv    samples from anywhere"""

NEWEST = "privacy.json"


@dataclass(frozen=True)
class Privacy:
    """Attack the samples of a model: can somebody who has them tell which rows the model was trained on?

    For tables and cells. Beside the samples stand a copier of the training rows and real rows.
    """

    run: Annotated[tyro.conf.Positional[Folder], shows("none; then --samples")] = None
    """Folder of a run or of a bundle to draw the samples from."""
    samples: Annotated[Folder, shows("drawn from the run")] = None
    """Attack these samples instead: a .csv or .parquet of a table, an .h5ad of cells."""
    data: Annotated[Text, shows("what the run was trained on")] = None
    """What the model was trained on, with the rows that were held out."""
    n: Annotated[Samples, shows("three times the training rows, at most 30,000")] = None
    """How many samples to draw. With fewer, an attack finds less, whatever the model does."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of the samples and of the attack."""
    out: Annotated[Folder, shows("privacy.json in the run's folder")] = None
    """Where to write the figures, as JSON."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Privacy, args, "gendi privacy", EXAMPLES)
    if (command.run is None) == (command.samples is None):
        both = "not both" if command.run is not None else "neither was given"
        raise UsageError(f"Give a run (gendi privacy RUN) or samples (--samples FILE --data people.csv): {both}.")
    if command.samples is not None and command.n is not None:
        raise UsageError("--n cannot be given with --samples, which are drawn already.")
    import json

    from gendi.data.kinds import kind_of
    from gendi.storage.files import atomic_write
    from gendi.train.progress.signals import StopFlag

    start = time.perf_counter()
    with StopFlag() as stop:

        def poll() -> None:
            stop.raise_if_requested("Nothing was written.")

        samples, data, output = _drawn(command, poll) if command.run is not None else _read(command)
        say("attacking the samples, a copier and real rows")
        found = kind_of(data.kind).privacy(samples, data, seed=command.seed or 0, poll=poll)
    say(f"attacked in {format_duration(time.perf_counter() - start)}")
    if command.json:
        show_json(found.to_dict())
    else:
        show(_table(found))
    if output is not None:
        atomic_write(output.claim(), json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
        say(f"written to {output.path}")
    return 0


def _drawn(command: Privacy, poll: Any) -> "tuple[Any, Data, Output | None]":
    """Return samples of a run, its data, and where the figures go, which is checked before anything is drawn."""
    from gendi.api.privacy import drawn_for_attack, require_attack
    from gendi.cli.requests import say_moment
    from gendi.data import open_data
    from gendi.train.kept.bundle import load_bundle
    from gendi.train.kept.folders import place_of

    assert command.run is not None
    bundle = load_bundle(command.run)
    spec = command.data or bundle.meta.get("data_spec")
    if spec is None:
        raise UsageError("The model does not say what it was trained on: give --data.")
    data = open_data(spec, size=bundle.codec.size)
    require_attack(data)
    say_moment(command.run, bundle)
    if bundle.meta.get("fingerprint") not in (None, data.fingerprint):
        say("warning: these data are not those of the training, so the attack cannot find what the model learned")
    home = place_of(command.run).home
    output = Output.checked(command.out, home and home / NEWEST, home, [data.spec])
    say("drawing samples")
    return drawn_for_attack(bundle, data, command.n, command.seed or 0, poll), data, output


def _read(command: Privacy) -> "tuple[Any, Data, Output | None]":
    from gendi.data import open_data

    if command.data is None:
        raise UsageError("--samples needs --data: the data that the model was trained on.")
    data = open_data(command.data)
    return command.samples, data, Output.checked(command.out, None, None, [data.spec])


def _table(found: "Attacked") -> str:
    """Return a line for each set, and what it says."""
    rows = []
    for place, exposure in found.sets.items():
        of = exposure.attacks
        shown = [f"{of[name].auc:.3f} ({between(of[name].interval)})" for name in of]
        best = max(attack.found.value or 0.0 for attack in of.values())
        shares = ("" if e is None else f"{e.value:.3f}" for e in (exposure.closest_share, exposure.copies))
        rows.append((place, *shown, f"{best:.1%}", *shares))
    head = ("in the samples' place", *(f"AUC by {name}" for name in found.sets["samples"].attacks))
    head += ("found at 1% false alarms", "closest share", "copies")
    text = (
        f"{found.samples:,} samples of {found.data}; {found.members:,} rows of {found.training:,} trained on, among "
        f"{found.others:,} that were held out"
    )
    return f"{text}\n{table(rows, head)}\n{found.verdict()}"
