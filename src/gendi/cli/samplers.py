"""`gendi samplers`."""

from collections.abc import Sequence
from dataclasses import dataclass

from gendi.cli.console import show, show_json, table
from gendi.cli.parse import parse

EXAMPLES = """\
  gendi samplers
  gendi sample runs/mnist --sampler ddim --steps 50 --eta 0.5"""


@dataclass(frozen=True)
class Samplers:
    """List the samplers."""

    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Samplers, args, "gendi samplers", EXAMPLES)
    from gendi.diffusion.discrete.samplers import TOKEN_SAMPLERS
    from gendi.diffusion.gaussian.samplers import SAMPLERS

    if command.json:
        show_json(
            {
                name: {
                    "order": info.order,
                    "calls_per_step": info.calls_per_step,
                    "deterministic": info.deterministic,
                    "adaptive": info.adaptive,
                    "grid": info.grid,
                    "options": info.options,
                    "use": info.use,
                }
                for name, info in SAMPLERS.items()
            }
            | {
                "tokens": {
                    name: {
                        "calls_per_step": info.calls_per_step,
                        "one_by_one": info.one_by_one,
                        "processes": info.processes,
                        "options": info.options,
                        "use": info.use,
                    }
                    for name, info in TOKEN_SAMPLERS.items()
                }
            }
        )
        return 0
    rows = [
        (name, info.order, info.calls_per_step, info.deterministic, info.grid, info.use)
        for name, info in SAMPLERS.items()
    ]
    show(table(rows, ("sampler", "order", "calls a step", "deterministic", "times", "use")))
    tokens = [(name, ", ".join(info.processes), info.use) for name, info in TOKEN_SAMPLERS.items()]
    show("\nOf models of sequences:\n" + table(tokens, ("sampler", "process", "use")))
    return 0
