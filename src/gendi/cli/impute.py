"""`gendi impute`."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gendi.cli.console import say, show, show_json
from gendi.cli.outputs import Output
from gendi.cli.parse import Count, Folder, Seed, named, parse, shows
from gendi.cli.values import format_duration
from gendi.errors import UsageError

EXAMPLES = """\
  gendi impute runs/people people.csv                   runs/people/people-filled.csv
  gendi impute runs/people people.csv --draws 5         five tables, people-filled-1.csv to people-filled-5.csv
  gendi impute runs/people new.csv --out whole.csv"""


@dataclass(frozen=True)
class Impute:
    """Fill the missing cells of a table from their distribution given the other cells of the row, without training
    anew.

    Given cells come back as they are, to the byte. The spread over several draws says how sure a filled cell is.
    """

    run: tyro.conf.Positional[Annotated[str, named("RUN")]]
    """Folder of a run or of a bundle that was trained on a table."""
    table: tyro.conf.Positional[Annotated[str, named("TABLE")]]
    """A .csv or .parquet with the columns of the training table; other columns are kept as they are."""
    draws: Annotated[Count, shows("1")] = None
    """How often to fill the table; each draw is a file of its own."""
    steps: Annotated[Count, shows("200")] = None
    """Noise levels, each of which takes a network call: fewer are quicker and less exact."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of the noise."""
    out: Annotated[Folder, shows("TABLE-filled in the run's folder")] = None
    """Where to, with the ending of TABLE; of several draws each has its number behind the name."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Impute, args, "gendi impute", EXAMPLES)
    from gendi.api.impute import fill, table_codec
    from gendi.cli.requests import pick_device, say_moment
    from gendi.data.tables.fill import TableFile
    from gendi.diffusion.gaussian.inverse.box import LEVELS
    from gendi.diffusion.gaussian.samplers import Drawing
    from gendi.train.kept.bundle import load_bundle
    from gendi.train.kept.folders import place_of
    from gendi.train.progress.signals import StopFlag

    bundle, path, draws = load_bundle(command.run), Path(command.table), command.draws or 1
    codec = table_codec(bundle.codec, "gendi impute")
    outputs = _outputs(command, path, place_of(command.run).home, bundle.meta.get("data_spec"), draws)
    table = TableFile.read(path, codec.schema)
    say_moment(command.run, bundle)
    if others := table.others:
        some = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        say(f"note: the model does not know {some}: kept as they are")
    how = Drawing(steps=command.steps or LEVELS, seed=command.seed or 0, bounds=bundle.bounds, device=pick_device())
    start = time.perf_counter()
    with StopFlag() as stop:
        found = fill(bundle, table.rows, draws, how, lambda: stop.raise_if_requested("Nothing was written."))
    for text in found.warnings:
        say(f"warning: {text}")
    for output, rows in zip(outputs, found.rows, strict=True):
        table.write(output.claim(), rows)
    cells, seconds = int(found.missing.sum()), time.perf_counter() - start
    times = "once" if draws == 1 else f"{draws:,} times"
    say(f"filled {cells:,} of {found.missing.size:,} cells {times} in {format_duration(seconds)}")
    places = [output.path for output in outputs]
    if command.json:
        show_json({"out": places, "filled": cells, "rows": len(table.rows), "draws": draws, "seconds": seconds})
    else:
        for place in places:
            show(f"{place}")
    return 0


def _outputs(command: Impute, table: Path, home: Path | None, data: object, draws: int) -> list[Output]:
    """Return the place of each draw. Raises `UsageError` for another ending than the table's, and for a taken place."""
    usual = (Path() if home is None else home) / f"{table.stem}-filled{table.suffix}"
    whole = Output(command.out, usual, home, [data], [command.table])
    if whole.path.suffix != table.suffix:
        raise UsageError(f"--out {command.out}: {table} is filled into a {table.suffix} too.")
    found = []
    for k in range(1, draws + 1):
        path = whole.path.with_stem(f"{whole.path.stem}-{k}") if draws > 1 else whole.path
        found.append(dataclasses.replace(whole, named=None if command.out is None else str(path), usual=path))
        found[-1].check()
    return found
