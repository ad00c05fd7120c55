"""`gendi train-classifier`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from gendi.cli.console import program, say, show, show_json, table
from gendi.cli.outputs import Output
from gendi.cli.parse import Count, Duration, Folder, Number, Seed, named, parse, shows
from gendi.cli.values import format_duration
from gendi.errors import UsageError

EXAMPLES = """\
  gendi train-classifier mnist --run runs/mnist                two minutes, runs/mnist/classifier
  gendi train-classifier mnist --run runs/plain --max-time 10m
  gendi sample runs/plain --class 7 --classifier runs/plain/classifier --guidance 2"""
MINUTES = 2.0


@dataclass(frozen=True)
class TrainClassifier:
    """Train a classifier of noisy pictures, which guides a run's samples to a class. The run need not know the classes.

    The training takes minutes and keeps no checkpoints.
    """

    data: Annotated[tyro.conf.Positional[str], named("DATA", "(required)")] = ""
    """Pictures with classes: mnist, fashion-mnist, a folder whose subfolders are classes, or an .npz."""
    run: Annotated[Folder, shows("none: required")] = None
    """Run, bundle, or model that comes with gendi, whose samples the classifier will guide."""
    max_time: Annotated[Duration, shows("2m, if no other budget is given")] = None
    """Budget in time of training: 90s, 8m."""
    images: Annotated[Count, shows("none")] = None
    """Budget in images seen, repeats counted."""
    steps: Annotated[Count, shows("none")] = None
    """Budget in optimiser steps."""
    out: Annotated[Folder, shows("classifier in the run's folder")] = None
    """Folder to write; a classifier that is there already is replaced."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the network's levels, finest first, multiples of 8; each level after the first halves the picture."""
    lr: Annotated[Number, shows("0.003")] = None
    """First learning rate; it falls to zero with the budget."""
    batch_size: Annotated[Count, shows("128")] = None
    """Images per step."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of every draw."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(TrainClassifier, args, "gendi train-classifier", EXAMPLES)
    if not command.data or command.run is None:
        missing = "--run is missing: name the run that it will guide" if command.data else "DATA is missing"
        raise UsageError(f"{missing}. See gendi train-classifier --help.")
    limits: dict[str, Any] = {"seconds": command.max_time, "images": command.images, "steps": command.steps}
    limits = {name: value for name, value in limits.items() if value is not None} or {"seconds": 60 * MINUTES}
    from gendi.cli.requests import pick_device
    from gendi.data import open_data
    from gendi.train.budget import Budget
    from gendi.train.kept.bundle import load_bundle
    from gendi.train.kept.classifier_bundle import check_place, save_classifier
    from gendi.train.kept.folders import bundle_folder, place_of
    from gendi.train.progress.console import make_console
    from gendi.train.progress.signals import StopFlag
    from gendi.train.run.classifier import train_classifier

    run, budget = Path(command.run), Budget(**limits)
    home = place_of(run).home
    out = (home or run) / "classifier" if command.out is None else Path(command.out)
    if bundle_folder(run).resolve() in (out.resolve(), *out.resolve().parents):
        raise UsageError(f"--out {out} lies inside the bundle, whose files are sealed. Choose another folder.")
    check_place(out)
    bundle = load_bundle(run)
    output = Output(command.out, out, home, [command.data])
    output.check_apart()
    data = open_data(command.data, size=bundle.codec.size)
    given: dict[str, Any] = {"lr": command.lr, "batch_size": command.batch_size, "seed": command.seed}
    with StopFlag() as stop, make_console() as screen:
        classifier = train_classifier(
            bundle,
            data,
            budget,
            widths=command.widths,
            device=pick_device(),
            console=screen,
            poll=lambda: stop.raise_if_requested("Nothing was written."),
            **{name: value for name, value in given.items() if value is not None},
        )
    classifier = dataclasses.replace(classifier, meta={"run": str(run), **classifier.meta})
    save_classifier(output.note(), classifier)
    meta = classifier.meta
    if command.json:
        show_json({"classifier": out, **meta})
        return 0
    cells = [(level, f"{share:.1%}") for level, share in meta["accuracy"].items()]
    show(table(cells, ("sigma / alpha", "held-out pictures classified correctly")))
    show(f"{out}")
    say(f"{meta['images']:,} images in {format_duration(meta['seconds'])}")
    say(f"next:\n  {program()} sample {run} --class {classifier.class_names[0]} --classifier {out} --guidance 2")
    return 0
