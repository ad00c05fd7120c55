"""`gendi report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gendi.cli.console import show, show_json
from gendi.cli.parse import named, parse
from gendi.cli.runs import require_run

EXAMPLES = """\
  gendi report runs/mnist"""


@dataclass(frozen=True)
class Report:
    """Write RUN/report.html, one file that opens offline, and its pictures as PNG in RUN/pictures."""

    run: Annotated[tyro.conf.Positional[str], named("RUN")]
    """Folder of the run, or a model that comes with gendi, whose report goes to runs/shipped/NAME."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Report, args, "gendi report", EXAMPLES)
    from gendi.train.kept.folders import place_of

    run = Path(command.run)
    if not place_of(run).shipped:
        require_run(run)
    from gendi.report import write_report

    path = write_report(run)
    if command.json:
        show_json({"report": path})
    else:
        show(f"{path}")
    return 0
