"""`gendi likelihood`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gendi.cli.console import say, show, show_json, table
from gendi.cli.outputs import Output
from gendi.cli.parse import Calls, Count, Folder, Number, Samples, Seed, Text, named, parse, shows
from gendi.cli.token_likelihood import likelihood_of_tokens
from gendi.cli.values import format_duration
from gendi.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from gendi.data import Data
    from gendi.diffusion.gaussian.likelihood import Bound, Density
    from gendi.machine.stopping import Poll
    from gendi.train.kept.bundle import Bundle

EXAMPLES = """\
  gendi likelihood runs/mnist                        the bound on 1000 test images, term by term
  gendi likelihood runs/mnist fashion-mnist          can it tell other pictures from its own?
  gendi likelihood runs/mnist --method ode --n 100   the probability-flow density
  gendi likelihood runs/seqs                         bits per letter of held-out sequences
  gendi likelihood runs/mnist --draws 2000           every term of a chain of 1000 steps, none left to chance"""
METHODS = ("elbo", "ode")
ONLY_ELBO, ONLY_ODE = ("steps", "draws", "variance"), ("dequantisation", "tolerance", "probes")


@dataclass(frozen=True)
class Likelihood:
    """Bits per dimension that a model needs for images it has not seen, or bits per letter of sequences, each figure
    with its standard error."""

    run: Annotated[tyro.conf.Positional[str], named("RUN")]
    """Folder of a run or of a bundle, or a model that comes with gendi (`gendi models`)."""
    data: Annotated[tyro.conf.Positional[Text], shows("its own held-out images")] = None
    """Other data to measure beside the run's own: fashion-mnist, or a path."""
    method: Annotated[Text, shows("elbo")] = None
    """elbo: an upper bound, term by term. ode: the density of the probability-flow ODE, about 200 calls per image."""
    n: Annotated[Samples, shows("1000; ode: 100")] = None
    """How many held-out images."""
    steps: Annotated[Calls, shows("the model's own T; in continuous time the limit of many steps")] = None
    """elbo: number of steps of the chain whose bound is computed."""
    draws: Annotated[Count, shows("50")] = None
    """elbo: how many terms of the bound to draw and compute per image, an even number; with as many as the chain has
    steps, or more, all terms are computed.
    """
    variance: Annotated[Text, shows("learned if the model learned one, else small")] = None
    """elbo: variance of the reverse steps: small, large or learned."""
    dequantisation: Annotated[Text, shows("normal")] = None
    """ode: noise within a byte's bin: normal (as narrow as the noise the ODE starts at) or uniform."""
    tolerance: Annotated[Number, shows("1e-5")] = None
    """ode: relative and absolute tolerance of a step."""
    probes: Annotated[Count, shows("1")] = None
    """ode: Hutchinson's probes per image."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of the choice of images, and of every draw."""
    batch_size: Annotated[Count, shows("250")] = None
    """Images per network call; halved by itself when memory runs out."""
    out: Annotated[Folder, shows("likelihood.png in the run's folder")] = None
    """elbo: file for a figure of how many bits each noise level costs."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Likelihood, args, "gendi likelihood", EXAMPLES)
    _check(command)
    from gendi.api.likelihood import refuse_student
    from gendi.cli.requests import say_moment
    from gendi.diffusion.gaussian.likelihood import auroc
    from gendi.train.kept.bundle import load_bundle
    from gendi.train.progress.signals import StopFlag

    bundle, run = load_bundle(command.run), Path(command.run)
    if bundle.codec.tokens is not None:
        say_moment(command.run, bundle)
        return likelihood_of_tokens(command, bundle)
    refuse_student(bundle)
    say_moment(command.run, bundle)
    output = _output(command, run, bundle)
    if output is not None:
        output.check()
    sets = _open(bundle, command.data)
    found: dict[str, Bound | Density] = {}
    start = time.perf_counter()
    with StopFlag() as stop:
        for data in sets:
            say(f"{data.spec}: {min(_n(command), len(data.heldout)):,} held-out images; {_labels(bundle, sets)}")
            found[data.spec] = _measure(
                command, bundle, data, len(sets) == 1, lambda: stop.raise_if_requested("Nothing was written.")
            )
    say(f"measured in {format_duration(time.perf_counter() - start)}")
    apart = auroc(*(result.values for result in found.values())) if len(found) == 2 else None
    out = _draw(output, bundle, found)
    if command.json:
        sets_json = {name: _figures(result) for name, result in found.items()}
        show_json({"run": run, "method": command.method or "elbo", "sets": sets_json, "auroc": apart, "out": out})
        return 0
    for name, result in found.items():
        show(_text(name, result))
    if apart is not None:
        first, second = found
        show(f"AUROC {apart:.4f}: the chance that an image of {second} needs more bits than one of {first}")
    if out is not None:
        say(f"drawn in {out}")
    return 0


def _check(command: Likelihood) -> None:
    method = command.method or "elbo"
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    foreign = ONLY_ODE if method == "elbo" else (*ONLY_ELBO, "out")
    if given := [f"--{name}" for name in foreign if getattr(command, name) is not None]:
        raise UsageError(f"{' and '.join(given)} cannot be given with --method {method}. See gendi likelihood --help.")
    if command.draws is not None and command.draws % 2:
        raise UsageError(f"--draws {command.draws} is out of range: it must be an even number, 2 or more.")
    if command.tolerance is not None and not 1e-13 <= command.tolerance <= 0.1:
        raise UsageError(f"--tolerance {command.tolerance:g} is out of range: it must lie between 1e-13 and 0.1.")


def _n(command: Likelihood) -> int:
    return command.n or (100 if command.method == "ode" else 1000)


def _open(bundle: "Bundle", other: str | None) -> "list[Data]":
    from gendi.data import open_data
    from gendi.data.images.codec import pictures_only

    codec = pictures_only(bundle.codec, "bits per dimension")
    size = (codec.height, codec.width)
    own = bundle.meta.get("data_spec")
    if own is None and other is None:
        raise UsageError("The model does not say what it was trained on: give DATA.")
    sets = [open_data(spec, size=size) for spec in dict.fromkeys((own, other)) if spec is not None]
    if len(sets) == 2 and sets[0].fingerprint == sets[1].fingerprint:
        sets = sets[:1]
    for data in sets:
        for note in data.notes:
            say(f"note: {data.spec}: {note}")
    return sets


def _labels(bundle: "Bundle", sets: "list[Data]") -> str:
    from gendi.api.held_out import is_own_data

    if not bundle.config.conditions:
        return "the model is given no conditions"
    if len(sets) == 1 and is_own_data(bundle, sets[0]):
        return "each with its own conditions"
    return "the model is given no conditions (the null conditions)"


def _measure(command: Likelihood, bundle: "Bundle", data: "Data", alone: bool, poll: "Poll") -> "Bound | Density":
    from gendi.api.held_out import held_out_rows
    from gendi.api.likelihood import bits_per_dim
    from gendi.cli.requests import pick_device

    seed, n = command.seed or 0, _n(command)
    images: Any = data
    if not alone:  # two data sets are compared on equal terms: under the null label
        images = data.heldout.batch(held_out_rows(data, n, seed))
    options: dict[str, Any] = {"batch_size": command.batch_size or 250, "device": pick_device(), "poll": poll}
    if command.method == "ode":
        tolerance = command.tolerance or 1e-5
        options |= {"rtol": tolerance, "atol": tolerance, "probes": command.probes or 1}
        options |= {"dequantisation": command.dequantisation or "normal"}
    else:
        options |= {"steps": command.steps, "draws": command.draws or 50, "variance": command.variance}
    return bits_per_dim(bundle, images, method=command.method or "elbo", n=n, seed=seed, **options)


def _figures(result: "Bound | Density") -> dict[str, Any]:
    from gendi.diffusion.gaussian.likelihood import Bound
    from gendi.diffusion.gaussian.likelihood.result import LN2

    terms = ("prior", "kl", "decoder", "total") if isinstance(result, Bound) else ("total",)
    measured = {name: getattr(result, name) for name in terms}
    figures: dict[str, Any] = {
        name: {"bits_per_dim": value.bits, "standard_error": value.bits_error, "nats_per_dim": value.nats}
        for name, value in measured.items()
    }
    figures["n"] = len(result.values)
    if isinstance(result, Bound):
        return figures | {
            "standard_error_t": result.error_t / LN2,
            "calls": result.calls,
            "steps": result.steps,
            "variance": result.variance,
            "smallest_noise": result.smallest,
            "times": result.edges.tolist(),
            "nats_per_dim_of_parts": result.cost.tolist(),
        }
    return figures | {
        "standard_error_probes": result.error_probes / LN2,
        "calls": float(result.calls.mean()),
        "most_calls": int(result.calls.max()),
        "divergence": result.divergence,
        "dequantisation": result.dequantisation,
        "smallest_noise": result.smallest,
        "rtol": result.rtol,
        "atol": result.atol,
        "alpha_end": result.alpha_end,
    }


def _text(name: str, result: "Bound | Density") -> str:
    from gendi.diffusion.gaussian.likelihood import Bound
    from gendi.diffusion.gaussian.likelihood.result import LN2

    if not isinstance(result, Bound):
        total = result.total
        return (
            f"{name}: {total.bits:.4f} ± {total.bits_error:.4f} bits/dim of {len(result.values):,} images\n"
            f"  probability-flow ODE from sigma / alpha = {result.smallest:.4g}, tolerance {result.rtol:g}, "
            f"{float(result.calls.mean()):.0f} calls per image (at most {int(result.calls.max())})\n"
            f"  divergence: {result.divergence}; dequantisation: {result.dequantisation}, so this is an upper bound on "
            f"the bytes' bits\n  signal left at t = 1: {result.alpha_end:.2g}"
        )
    chain = "the limit of many steps" if result.steps is None else f"a chain of {result.steps:,} steps"
    terms = {"prior": result.prior, "kl": result.kl, "decoder": result.decoder, "total": result.total}
    rows = [(term, f"{value.bits:.4f}", f"{value.bits_error:.4f}") for term, value in terms.items()]
    drawn = "every term computed" if not result.error_t else f"{result.calls - 1} terms drawn per image"
    return (
        f"{name}: {result.total.bits:.4f} ± {result.total.bits_error:.4f} bits/dim, an upper bound, of "
        f"{len(result.values):,} images\n{table(rows, ('term', 'bits/dim', 'standard error'))}\n"
        f"  {chain}, variance {result.variance}; {drawn} (their part of the error: {result.error_t / LN2:.4f})\n"
        f"  decoder: discretised, from sigma / alpha = {result.smallest:.4g}; {result.calls} network calls per image"
    )


def _output(command: Likelihood, run: Path, bundle: "Bundle") -> Output | None:
    """Return where the figure goes; None if the method draws none, or a bundle alone has no place for it."""
    from gendi.train.kept.folders import place_of

    home = place_of(run).home
    if command.method == "ode" or (home is None and command.out is None):
        return None
    return Output(command.out, (home or run) / "likelihood.png", home, [bundle.meta.get("data_spec"), command.data])


def _draw(output: Output | None, bundle: "Bundle", found: "dict[str, Bound | Density]") -> Path | None:
    from gendi.diffusion.gaussian.likelihood import Bound
    from gendi.storage.files import atomic_write

    bounds = {name: result for name, result in found.items() if isinstance(result, Bound) and len(result.cost)}
    if not bounds or output is None:
        return None
    from gendi.report.cost import cost_figure
    from gendi.report.style import LIGHT, png

    out = output.claim()
    atomic_write(out, png(cost_figure(bounds, bundle.schedule()), LIGHT))
    return out
