"""`gendi plan`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gendi.cli.console import show, show_json, table
from gendi.cli.parse import Count, Number, Size, named, parse, shows
from gendi.cli.values import format_duration
from gendi.diffusion.networks.registry import NETWORKS
from gendi.errors import UsageError
from gendi.machine.units import format_bytes

EXAMPLES = """\
  gendi plan cifar10 --gpus 8 --kind h100 --images 100M
  gendi plan runs/mnist --gpus 1 --kind rtx4090          the network of a run
  gendi plan adm --gpus 8 --kind rtx4090 --shard --accumulate 4
  gendi plan mnist --kind cpu --size 28 --channels 1       this machine, whose peak is measured now
  gendi plan mnist --size 64 --batch-size 1024 --json"""


@dataclass(frozen=True)
class Plan:
    """Estimate what training on N accelerators would take: memory, images/s, days. Nothing is trained."""

    what: Annotated[tyro.conf.Positional[str], named("PRESET|RUN")] = "mnist"
    """A preset, the folder of a run, or a model that comes with gendi."""
    gpus: Annotated[Count, shows("1")] = None
    """How many accelerators share a batch."""
    kind: str = "h100"
    """Kind of accelerator: t4, v100, a10g, a100, l4, l40s, h100, h200, b200, rtx3090, rtx4090, mi300x, or cpu for this
    machine.
    """
    images: Annotated[Count, shows("100M")] = None
    """How many images to train on, repeats counted."""
    batch_size: Annotated[Count, shows("the preset's")] = None
    """Images per step, over all accelerators."""
    size: Annotated[Size, shows("a run's own; 32 for a preset")] = None
    """Size of the images."""
    channels: Annotated[Count, shows("a run's own; 3 for a preset")] = None
    """Channels of the images; 1 is grey."""
    precision: Annotated[Literal["bf16", "fp32"] | None, shows("bf16, or fp32 where there is none")] = None
    """Arithmetic of the network."""
    utilisation: Annotated[Number, shows("0.3")] = None
    """Share of the peak that training reaches, 0 to 1: measure it with gendi train --dry-run on one of them."""
    accumulate: Annotated[Count, shows("the preset's")] = None
    """Number of parts in which each accelerator computes its share of a batch: less memory, the same step."""
    shard: bool = False
    """Divide weights, gradients, averages and moments among the accelerators (gendi train --train.shard)."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Plan, args, "gendi plan", EXAMPLES)
    share = 0.3 if command.utilisation is None else command.utilisation
    if not 0 < share <= 1:
        raise UsageError(f"--utilisation {share:g} is out of range: it must be more than 0 and at most 1.")
    from gendi.machine.hardware import device_of
    from gendi.train.run.scaling import plan

    device = device_of(command.kind)
    config, shape = _what(command)
    train = config.train
    train = dataclasses.replace(
        train, accumulate=command.accumulate or train.accumulate, shard=command.shard or train.shard
    )
    config = dataclasses.replace(config, train=train)
    found = plan(
        config,
        shape,
        device,
        devices=command.gpus or 1,
        images=command.images or 100_000_000,
        batch=command.batch_size or config.train.batch_size,
        precision=command.precision or ("fp32" if device.half is None else "bf16"),
        utilisation=share,
    )
    if command.json:
        show_json(found)
    else:
        _show(found)
    return 0


def _what(command: Plan) -> "tuple[Any, tuple[int, ...]]":
    """Return the configuration and the shape of a sample in model space."""
    from gendi.train.config import RunConfig
    from gendi.train.kept.folders import place_of
    from gendi.train.presets import PRESETS, get_preset

    run = Path(command.what)
    if command.what not in PRESETS and (run.is_dir() or place_of(run).shipped):
        from gendi.train.kept.bundle import load_bundle

        bundle = load_bundle(run)
        config, shape = bundle.config, tuple(bundle.codec.shape)
    else:
        config, shape = get_preset(command.what).config, (3, 32, 32)
    if len(shape) == 3:
        shape = (command.channels or shape[0], *(command.size or shape[1:]))
    if NETWORKS[config.network.kind].dimensions == 1 and len(shape) == 3:
        raise UsageError(f"{command.what} is for vectors, whose width depends on the data: name a run instead.")
    known = tuple(c for c in config.conditions if c.size >= 0)  # the others are the data's to say
    assert isinstance(config, RunConfig)
    return dataclasses.replace(config, conditions=known), shape


def _show(found: dict[str, Any]) -> None:
    memory = found["memory"]
    rows = [
        ("network", f"{found['parameters']:,} parameters, samples of {' x '.join(map(str, found['shape']))}"),
        ("forward pass", f"{found['flops_per_image'] / 1e9:,.2f} GFLOP per image"),
        ("machine", f"{found['devices']} x {found['device']}, {found['precision']}"),
        (
            "batch",
            f"{found['batch_size']:,} images, {found['rows_per_device']:,} each, {found['rows_at_once']:,} at once",
        ),
        ("memory each", f"{format_bytes(memory['total'])} of {format_bytes(memory['device'])}"),
        *((f"  {name}", format_bytes(size)) for name, size in memory.items() if name not in ("total", "device")),
        ("speed", f"{found['images_per_second']:,.0f} images/s"),
        ("time", f"{format_duration(found['seconds'])} for {found['images']:,} images ({found['days']:.3g} days)"),
    ]
    show(table(rows, indent=""))
    show("\nassumptions")
    for line in found["assumptions"]:
        show(f"  {line}")
