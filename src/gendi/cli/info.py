"""`gendi info`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from gendi.cli.console import show, show_json, table
from gendi.cli.parse import named, parse
from gendi.cli.runs import lines_of, read_config, read_metrics
from gendi.cli.values import format_duration
from gendi.data.kinds import kind_of
from gendi.diffusion.networks.registry import NETWORKS
from gendi.train.config import RunConfig

EXAMPLES = """\
  gendi info runs/mnist
  gendi info runs/mnist --json"""


@dataclass(frozen=True)
class Info:
    """Show what a run is and how far it has come. Every byte of its bundle is checked as well."""

    run: Annotated[tyro.conf.Positional[str], named("RUN")]
    """Folder of a run or of a bundle, or a model that comes with gendi (`gendi models`)."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Info, args, "gendi info", EXAMPLES)
    found = collect(Path(command.run))
    if command.json:
        show_json(found)
    else:
        _show(found)
    return 0


def collect(run: Path) -> dict[str, Any]:
    """Return what is known of a run (its bundle may not be there yet) or of a bundle.

    Raises `UsageError` if `run` is neither, `BundleError` if something in it is damaged.
    """
    from gendi.train.kept.folders import place_of
    from gendi.train.kept.shipped import META
    from gendi.train.kept.status import last_verdict, read_status

    found: dict[str, Any] = {"run": str(run)}
    is_run = not place_of(run).shipped and (run / "config.toml").is_file()
    if is_run:
        stored = read_config(run)
        found |= {"config": stored.get("config"), "data": stored.get("data"), "budget": stored.get("budget")}
        found["status"] = read_status(run)
        found["verdict"] = last_verdict(lines_of(run))
    if is_run and not (run / "bundle").is_dir():
        return found
    from gendi.train.kept.bundle import load_bundle
    from gendi.train.weights.model import run_cost

    bundle = load_bundle(run)
    meta = bundle.meta
    found |= {
        "config": bundle.config.to_dict(),
        "codec": {name: value for name, value in bundle.codec.to_dict().items() if name != "schema"},
        "sample": bundle.codec.description,
        "conditions": bundle.config.to_dict()["conditions"],
        "parameters": sum(tensor.numel() for tensor in bundle.state.values()),
        "flops_per_image": run_cost(bundle.config, bundle.codec.shape).flops,
        "training": {key: meta.get(key) for key in ("step", "images", "seconds", "precision", "layout", "seed")},
        "versions": {key: meta.get(key) for key in ("gendi", "torch", "python")},
    }
    found.setdefault("data", {"spec": meta.get("data_spec"), "name": meta.get("data")})
    found["data"] = {**(found["data"] or {}), "fingerprint": meta.get("fingerprint")}
    found["metrics"] = read_metrics(place_of(run).folder) or meta.get("metrics")
    if place_of(run).shipped:
        found["shipped"] = meta[META]
    return found


def _show(found: dict[str, Any]) -> None:
    config, data = found.get("config") or {}, found.get("data") or {}
    status, training = found.get("status") or {}, found.get("training") or {}
    now = status | training if status.get("status") in (None, "finished") else training | status
    seconds = now.get("seconds")
    rows: list[tuple[str, object]] = [
        ("run", found["run"]),
        ("preset", config.get("preset")),
        ("data", f"{data.get('name') or data.get('spec')} (fingerprint {str(data.get('fingerprint'))[:16]})"),
        ("status", status.get("status")),
        *([("verdict", verdict)] if (verdict := found.get("verdict")) else []),
        ("steps", now.get("step")),
        *(
            [("its model", f"of step {training['step']:,}")]
            if training.get("step") not in (None, now.get("step"))
            else []
        ),
        ("images seen", now.get("images")),
        ("training time", None if seconds is None else format_duration(seconds)),
    ]
    if "parameters" in found:
        rows += [
            ("a sample", found["sample"]),
            ("network", NETWORKS.find(config["network"]["kind"]).title),
            ("parameters", found["parameters"]),
            ("forward pass", f"{found['flops_per_image'] / 1e6:,.1f} MFLOP per image"),
            ("arithmetic", f"{training.get('precision')}, {training.get('layout')}"),
            ("made with", ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)),
        ]
    show(table([(label, f"{value:,}" if isinstance(value, int) else value) for label, value in rows], indent=""))
    if metrics := found.get("metrics"):
        show("\nmetrics")
        show(
            table([(name, m.get("value"), m.get("floor")) for name, m in metrics.items()], ("metric", "value", "floor"))
        )
    if config:
        from gendi.storage.toml import dump_toml

        if "codec" in found:
            config = RunConfig.from_dict(config).concerning(kind_of(found["codec"]["kind"]).name)
        show(f"\n{dump_toml(config)}".rstrip())
