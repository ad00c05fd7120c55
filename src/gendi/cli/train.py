"""`gendi train`."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gendi.cli.console import program, say
from gendi.cli.parse import glance, parse
from gendi.cli.runs import update_timings
from gendi.cli.screen import screen
from gendi.cli.train_flags import DEFAULT_PRESET
from gendi.cli.train_flags import Train as Train
from gendi.cli.train_words import show_plan, tell_end
from gendi.data.kinds import find_kind
from gendi.diffusion.networks.rules import attention_within
from gendi.errors import UsageError
from gendi.storage.record import RunRecord
from gendi.train.config import RunConfig
from gendi.train.kept.inherit import starting_config
from gendi.train.presets import get_preset

if TYPE_CHECKING:
    from gendi.train.budget import Budget
    from gendi.train.job import TrainResult

EXAMPLES = """\
  gendi train mnist                                        8 minutes, into runs/mnist
  gendi train mnist --max-time 8m                          run it again: it continues, or says that it is finished
  gendi train photos/ --size 32 --images 2M --out runs/me  any folder of images
  gendi train shapes.npz --condition type dose             with two of the conditions that the data hold
  gendi train cells:blood.h5ad --condition cell_type       counts of single cells, into runs/cells
  gendi train people.csv --condition country               a table
  gendi train photos/ --from runs/me --max-time 60s        starts from the weights of another run
  gendi train photos/ --autoencoder runs/photos-autoencoder  in the latents of large pictures
  gendi train mnist --network.channels 64 128 --optim.lr 1e-3 --dry-run
  torchrun --nproc-per-node 2 -m -- gendi train mnist      one batch, shared by two processes"""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    first = glance(Train, args, "gendi train", Train(preset=""))
    preset = DEFAULT_PRESET if first is None else first.preset or first.usual()
    command = parse(Train, args, "gendi train", EXAMPLES, default=_defaults(preset))
    if command.data and (begun := _start(command)) is not None:
        command = parse(Train, args, "gendi train", EXAMPLES, default=_defaults(preset, begun))
    if not command.data:
        raise UsageError(
            "DATA is missing: say what to learn from, for instance mnist or a folder. See gendi train --help."
        )
    if first is not None and not first.preset:
        _say_why(command)
    command = _with_attention_within(command, args)
    config, limits, run, spec = command.config(), command.limits(), command.folder(), command.spec()
    if command.page and command.no_page:
        raise UsageError("--page and --no-page cannot be given together.")
    if command.page:
        RunRecord(run).check(run / "report.html")
    if command.dry_run and command.fresh:
        raise UsageError("--dry-run and --fresh cannot be given together: a dry run writes and deletes nothing.")
    from gendi.train.budget import Budget
    from gendi.train.run.plan import dry_run

    if command.dry_run:
        budget = Budget(**limits)
        if "auto" in (config.train.precision, config.train.layout):
            say("probing which arithmetic and memory layout are fastest here")
        plan = dry_run(
            spec,
            config,
            size=command.size,
            max_bad=command.max_bad,
            budget=budget,
            init=command.from_,
            autoencoder=command.autoencoder,
            allow_data_change=command.allow_data_change,
        )
        plan |= {"run": str(run), "budget": limits}
        show_plan(plan, limits, command.json)
        return 0
    from gendi.machine.distributed import together

    with together(config.train.timeout) as team:
        result = _train(command, config, Budget(**limits), team.first)
        if team.first:
            update_timings(run, train_seconds=result.seconds, train_images=result.images)
            tell_end(command, args, run, result)
    return 0


def _with_attention_within(command: Train, args: Sequence[str]) -> Train:
    """Return the command with the attention of its preset on levels that there are, if --network.channels took some.

    A level that is gone hands its attention to the coarsest one that is left. What was asked by a flag stays as it is.
    """
    network = command.network
    if network.kind != "unet" or any(word.replace("_", "-").startswith("--network.attention") for word in args):
        return command
    within = attention_within(network)
    if within == network.attention or not network.channels:
        return command
    say(
        f"note: network.attention is {_levels(network.attention)} in the preset, and {len(network.channels)} channels "
        f"have only the levels 0 to {len(network.channels) - 1}: it is {_levels(within)} now. Give "
        "--network.attention to choose other levels."
    )
    return dataclasses.replace(command, network=dataclasses.replace(network, attention=within))


def _levels(levels: Sequence[int]) -> str:
    return " ".join(map(str, levels))


def _say_why(command: Train) -> None:
    """Say which preset the data got, if it is not the usual one for their kind."""
    usual, why = find_kind(command.data).preset_for(command.data, command.size)
    if why and usual == command.preset:
        say(f"preset {usual}, as {why}; --preset NAME takes another one of those that {program()} presets lists")


def _train(command: Train, config: RunConfig, budget: "Budget", first: bool) -> "TrainResult":
    from gendi.train.progress.telling import Silent
    from gendi.train.run.loop import train

    page = False if command.no_page else command.page or None
    shown = screen(command.folder(), command.data, page) if first else contextlib.nullcontext(Silent())
    with shown as console:
        return train(
            command.spec(),
            config,
            command.folder(),
            budget,
            size=command.size,
            max_bad=command.max_bad,
            fresh=command.fresh,
            allow_data_change=command.allow_data_change,
            console=console,
            init=command.from_,
            autoencoder=command.autoencoder,
        )


def _start(command: Train) -> RunConfig | None:
    """Return the configuration of a run that starts from weights, before flags are read; None if it does not."""
    preset, run = get_preset(command.preset).config, command.folder()
    begun = starting_config(preset, command.from_, run, command.fresh)
    return None if begun == preset else begun


def _defaults(preset: str, begun: RunConfig | None = None) -> Train:
    """Return the fields of a preset, or of `begun`, for help and for what no flag overrides."""
    fields = vars(begun or get_preset(preset).config) | {"preset": preset}
    return Train(**fields)
