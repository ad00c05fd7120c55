"""`gendi presets`."""

from collections.abc import Sequence
from dataclasses import dataclass

from gendi.cli.console import show, show_json, table
from gendi.cli.parse import parse
from gendi.train.presets import PRESETS

EXAMPLES = """\
  gendi presets
  gendi train mnist --preset mnist --optim.lr 1e-3   a flag overrides any field
  gendi train --preset gendi-report --help           every field of a preset"""


@dataclass(frozen=True)
class Presets:
    """List the presets: what each is for, the time it is meant for, and what it scored."""

    json: bool = False
    """Print one JSON object, with every field of every preset."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Presets, args, "gendi presets", EXAMPLES)
    if command.json:
        show_json(
            {
                preset.name: {
                    "about": preset.about,
                    "max_time": preset.max_time,
                    "expected": preset.expected,
                    "config": preset.config.to_dict(),
                }
                for preset in PRESETS.values()
            }
        )
        return 0
    for preset in PRESETS.values():
        show(f"{preset.name}: {preset.about}")
        rows = [("budget", preset.max_time), ("expected", preset.expected)]
        show(table([row for row in rows if row[1]]))
    return 0
