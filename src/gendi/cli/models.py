"""`gendi models`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gendi.cli.console import program, show, show_json, table
from gendi.cli.parse import parse
from gendi.machine.units import format_bytes
from gendi.train.kept.shipped import Shipped, read_shipped, shipped_names

EXAMPLES = """\
  gendi models
  gendi sample digits --n 64             a shipped model, by its name
  gendi models --json                    all that is known of them"""
SHOWN = {
    "asked-seen": (".1%", "the requested class is seen in"),
    "fid-digits": (".2f", "FID on digit features"),
    "fid-learned": (".2f", "FID on learned features"),
}
"""The metrics that stand in the list: the format of their numbers, and the words before them."""


@dataclass(frozen=True)
class Models:
    """List the models that come with gendi. Their names can be given wherever a command takes a RUN."""

    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Models, args, "gendi models", EXAMPLES)
    found = [read_shipped(name) for name in shipped_names()]
    if command.json:
        show_json({"models": [_entry(model) for model in found]})
        return 0
    for model in found:
        show(f"{model.name}: {model.facts['about']}")
        show(table(_rows(model)))
    if not found:
        show("No model came with this installation of gendi.")
    else:
        show(f"next:\n  {program()} sample {found[0].name} --n 64")
    return 0


def _entry(model: Shipped) -> dict[str, Any]:
    """Return what is known of a model by name; "made" are the facts of its training."""
    made = ("data", "fingerprint", "images", "seconds", "seed", "precision", "gendi", "torch")
    return {
        "name": model.name,
        **model.facts,
        "bytes": model.weights.size,
        "sha256": model.weights.sha256,
        "sample": model.sampler,
        "made": {key: model.meta.get(key) for key in made},
        "metrics": model.meta.get("metrics"),
    }


def _rows(model: Shipped) -> list[tuple[str, object]]:
    how, facts = model.sampler, model.facts
    each = ", each with and without the class" if how["guidance"] != 1 else ""
    return [
        ("parameters", f"{facts['parameters']:,}; {format_bytes(model.weights.size)} as float16"),
        ("calls", f"{how['steps']} of {how['sampler']}{each}"),
        ("quality", _quality(model.meta.get("metrics") or {}) or "not measured"),
        ("data", f"{model.meta.get('data')}; licence: {facts['license']}"),
        ("made by", f"{facts['command']} ({model.meta.get('images'):,} images, seed {model.meta.get('seed')})"),
        ("SHA-256", model.weights.sha256),
    ]


def _quality(metrics: dict[str, Any]) -> str | None:
    """Return some metrics, each with what real images score in brackets; None if it was not evaluated."""
    shown = [(form, words, metrics[name]) for name, (form, words) in SHOWN.items() if name in metrics]
    return "; ".join(f"{words} {m['value']:{form}} (real {m['floor']:{form}})" for form, words, m in shown) or None
