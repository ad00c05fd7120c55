"""`gendi report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gendi.cli.console import say, show, show_json
from gendi.cli.parse import Folder, named, parse, shows
from gendi.cli.runs import require_run

EXAMPLES = """\
  gendi report runs/mnist
  gendi report runs/gendi-report --figures figures/   figures 1 to 7 of the GENDI report, for this run"""


@dataclass(frozen=True)
class Report:
    """Write RUN/report.html, one file that opens offline, and its pictures as PNG in RUN/pictures."""

    run: Annotated[tyro.conf.Positional[str], named("RUN")]
    """Folder of the run, or a model that comes with gendi, whose report goes to runs/shipped/NAME."""
    figures: Annotated[Folder, shows("none")] = None
    """Write figures 1 to 7 of the GENDI report and its table of metrics to this folder, instead of the page."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Report, args, "gendi report", EXAMPLES)
    from gendi.train.kept.folders import place_of

    run = Path(command.run)
    if not place_of(run).shipped:
        require_run(run)
    if command.figures is not None:
        return _figures(run, Path(command.figures), command.json)
    from gendi.report import write_report

    path = write_report(run)
    if command.json:
        show_json({"report": path})
    else:
        show(f"{path}")
    return 0


def _figures(run: Path, folder: Path, json: bool) -> int:
    from gendi.report.figures import write_figures

    written, missing = write_figures(run, folder)
    for sentence in missing:
        say(f"note: {sentence}")
    if json:
        show_json({"figures": written, "missing": missing})
    else:
        for path in written:
            show(f"{path}")
    return 0
