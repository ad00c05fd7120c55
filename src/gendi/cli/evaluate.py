"""`gendi evaluate`."""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gendi.cli.condition_flags import ConditionFlags
from gendi.cli.console import say, show, show_json
from gendi.cli.evaluation_file import NEWEST, as_text, keep_beside
from gendi.cli.how_many import MANY, USUAL, affordable, drawn_before, how_many
from gendi.cli.metrics_table import metrics_table
from gendi.cli.outputs import Output
from gendi.cli.parse import MOST_SAMPLES, Calls, Count, Folder, Samples, Seed, Text, parse, shows, with_a_run
from gendi.cli.runs import update_timings
from gendi.cli.values import format_duration
from gendi.data.kinds import find_kind
from gendi.errors import DataError, Mend, UsageError

if TYPE_CHECKING:
    from gendi.api.request import Request
    from gendi.data import Data
    from gendi.data.kind import Kind
    from gendi.evaluate import Evaluation
    from gendi.machine.stopping import Poll
    from gendi.train.progress.signals import StopFlag

EXAMPLES = """\
  gendi evaluate runs/mnist                              MNIST: the digits extractor
  gendi evaluate runs/icons                              other pictures: by features that are learned from them first
  gendi evaluate runs/mnist --n 5000 --fid-infinity      FID without the bias of small sets
  gendi evaluate runs/mnist --extractor inception        FID as the papers have it (minutes on a CPU)
  gendi evaluate runs/mnist --sampler ddim --steps 50 --json
  gendi evaluate runs/mnist --guidance 2                 how much better, and how much less varied
  gendi evaluate --samples theirs.npz --data mnist       samples from anywhere
  gendi evaluate runs/cells                              cells and tables: floors, gates and controls
  gendi evaluate --samples fake.h5ad --data cells:real.h5ad
  torchrun --nproc-per-node 2 -m -- gendi evaluate runs/mnist"""


@dataclass(frozen=True)
class Evaluate:
    """Evaluate samples. Every figure stands beside its floor: the score of equally many real held-out images."""

    run: Annotated[tyro.conf.Positional[Folder], shows("none; then --samples")] = None
    """Folder of a run or of a bundle, or a model that comes with gendi, to draw the samples from."""
    samples: Annotated[Folder, shows("drawn from the run")] = None
    """Evaluate these samples instead: an .npz, a .npy, a folder of pictures, or a grid that gendi sample wrote; an
    .h5ad of cells, a .csv or .parquet of a table.
    """
    data: Annotated[Text, shows("what the run was trained on")] = None
    """What the samples should look like: mnist, or a path."""
    n: Annotated[Samples, shows("5000 where drawn in a minute, else 1000")] = None
    """How many samples; metrics of different n are on different scales. Cells and tables: 1000, or as many as are held
    out.
    """
    extractor: Annotated[tuple[str, ...], shows("digits for MNIST, else learned")] = ()
    """Feature networks to measure with: digits, inception, learned (trained on the data themselves, once, in a minute),
    pixels. By default the one that catches most fakes on these data.
    """
    fid_infinity: bool = False
    """Also extrapolate the Fréchet distance to infinitely many samples, which removes its bias."""
    steps: Annotated[Calls, shows("the model's own, often 20")] = None
    """Network calls per sample."""
    sampler: Annotated[Text, shows("the model's own, often dpmpp-2m-sde-half")] = None
    """How to step from noise to data; `gendi samplers` lists them."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of the samples, and of the subset of real images they are compared with."""
    batch_size: Annotated[Count, shows("250")] = None
    """Samples per network call."""
    wanted: tyro.conf.OmitArgPrefixes[ConditionFlags] = field(default_factory=ConditionFlags)
    out: Annotated[Folder, shows("evaluation.json in the run's folder")] = None
    """Where to write the figures, as JSON."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Evaluate, args, "gendi evaluate", EXAMPLES)
    _check(command)
    from gendi.machine.distributed import together

    with together() as team:
        if command.samples is None:
            evaluation, out = evaluate_run(command)
        else:
            evaluation, out = _measure_file(command)
        if not team.first:
            return 0
    if command.json:
        show_json(evaluation.to_dict())
    else:
        show(metrics_table(evaluation))
        for note in evaluation.notes:
            say(f"note: {note}")
    if out is not None:
        say(f"written to {out}")
    return 0


def evaluate_run(command: Evaluate) -> "tuple[Evaluation, Path | None]":
    """Draw the samples of a run, or take those in its archive if they were drawn the same way; evaluate them and write
    the results. Several processes each draw a share, and process 0 evaluates.
    """
    from gendi.api.classes import asked_classes, without_class
    from gendi.api.measure import restoring
    from gendi.api.models import Models
    from gendi.api.prepared import prepare
    from gendi.api.proportions import Proportions
    from gendi.api.sample import draw
    from gendi.api.token_likelihood import bits_per_letter
    from gendi.cli.requests import announced, classes_asked, made_here, make_request
    from gendi.data.images.class_metrics import may_read
    from gendi.data.kinds import kind_of
    from gendi.machine.distributed import team
    from gendi.storage.files import atomic_write
    from gendi.storage.record import RunRecord
    from gendi.train.kept.bundle import load_bundle
    from gendi.train.kept.folders import place_of
    from gendi.train.kept.moment import moment_of
    from gendi.train.kept.shipped import begin_results
    from gendi.train.progress.signals import StopFlag

    assert command.run is not None
    run = Path(command.run)
    bundle, home = load_bundle(run), place_of(run).home
    moment = moment_of(run, bundle)
    if moment is not None and team().first:
        say(f"note: {moment}")
    wanted = make_request(bundle, command.run, command.n or USUAL, command)
    models = Models.read(bundle, wanted.guidance)
    request = made_here(wanted, command.batch_size, models)
    ready = prepare(request, models)
    for text in ready.warnings if team().first else ():
        say(f"warning: {text}")
    data = _open(command.data or bundle.meta.get("data_spec"), bundle.codec.size)
    kind = kind_of(data.kind)
    if not kind.pictures and command.n is None:
        request = dataclasses.replace(request, n=max(2, min(request.n, len(data.heldout))))
        ready = prepare(request, ready.models)
    if kind.pictures and not request.condition:
        request = dataclasses.replace(request, proportions=Proportions.of(ready.models.conditions, data))
        ready = prepare(request, ready.models)
    archive = kind.evaluated_file(home or run)
    output = Output.checked(command.out, home and home / NEWEST, home, [data.spec])
    Output.checked(None, home and archive, home, [])
    if kind.pictures and command.n is None and affordable(data) == MANY:
        many = team().from_first(lambda: drawn_before(archive, request)) if home else None
        if many is None:
            with StopFlag() as stop:
                many, why = how_many(request, ready.models, stopping(stop))
            (say if team().first else _silent)(why)
        request = dataclasses.replace(request, n=many)
        ready = prepare(request, ready.models)
    notes: tuple[str, ...] = ()
    if (known := bundle.meta.get("fingerprint")) not in (None, data.fingerprint):
        notes = (
            f"These data (fingerprint {data.fingerprint[:12]}) are not those of the training ({str(known)[:12]}).",
        )
    if moment is not None:
        notes += (moment[:1].upper() + moment[1:],)
    if request.proportions is not None:
        notes += (request.proportions.in_words(),)
    images = _kept(kind, archive, request) if kind.keeps_settings and home else None
    with StopFlag() as stop:
        poll = stopping(stop)
        drawn, seconds = team().gathered(images is None)[0], 0.0
        if drawn:
            start = time.perf_counter()
            images = draw(ready, announced(request, stop, team().first))
            seconds = time.perf_counter() - start

        tell = say if team().first else _silent
        tell(f"drawn in {format_duration(seconds)}" if drawn else f"measuring the {request.n:,} samples in {archive}")

        def keep(place: Path) -> None:
            begin_results(place)
            RunRecord(place).claim(archive)
            kind.write(archive, images, request.texts, **classes_asked(ready))
            update_timings(place, sample_seconds=seconds, samples=request.n, sample_calls=request.how.steps)

        if drawn and home:
            team().from_first(lambda: keep(home))
        source = {**request.to_dict(), "run": str(run)}
        options: dict[str, Any] = {"mirrored": bundle.config.train.flip} if kind.pictures else {}
        if "bits" in kind.evaluation_options:
            tell("computing the bits per letter of held-out sequences")
            options["bits"] = bits_per_letter(bundle, data, seed=request.how.seed, poll=poll).estimate
        if "restore" in kind.evaluation_options and (restore := restoring(bundle.codec)) is not None:
            options["restore"] = restore
        if "asked" in kind.evaluation_options and (asked := asked_classes(ready, data)) is not None:
            options["asked"] = asked
            free = without_class(request, bundle) if may_read(data, command.extractor) else None
            if free is not None:
                tell(f"drawing {free.n:,} more samples without a class, for the shares of the classes")
                options["free"] = draw(prepare(free, ready.models), poll)
        measured = _measure(command, images, data, source, True, poll, options)
        evaluation = dataclasses.replace(measured, notes=measured.notes + notes)
        out = None if output is None else output.path

        def write() -> "Evaluation":
            whole = evaluation
            if home and command.out is None:
                whole = keep_beside(home, evaluation)
            elif output is not None:
                atomic_write(output.claim(), as_text(whole))
            if home:
                update_timings(home, evaluate_seconds=sum(whole.seconds.values()))
            return whole

        return team().from_first(write), out


def _kept(kind: "Kind", archive: Path, request: "Request") -> Any:
    """Return the samples in a run's archive if they are those of the request, else None."""
    from gendi.api.request import read_request

    if not archive.is_file():
        return None
    try:
        same = dataclasses.replace(read_request(archive), run=request.run) == request
        return kind.read_samples(archive) if same else None
    except DataError as error:
        say(f"note: {error} The samples are drawn anew.")
        return None


def _check(command: Evaluate) -> None:
    command.wanted.conditions()
    command.wanted.guidance_fields()
    if command.n == 1:
        raise UsageError(
            f"--n 1 is out of range: a set of images needs at least 2 to be evaluated, at most {MOST_SAMPLES}."
        )
    if (command.run is None) == (command.samples is None):
        both = "not both" if command.run is not None else "neither was given"
        error = UsageError(f"Give a run (gendi evaluate RUN) or samples (--samples FILE --data mnist): {both}.")
        raise error.mended_by(*(with_a_run() if command.run is None else []))
    if command.samples is not None:
        if command.data is None:
            raise UsageError(
                "--samples needs --data: say what the samples should look like, for instance --data mnist."
            )
        drawing = [f"--{name}" for name in ("steps", "sampler") if getattr(command, name) is not None]
        if given := drawing + command.wanted.given():
            error = UsageError(f"{' and '.join(given)} cannot be given with --samples, which are drawn already.")
            raise error.mended_by(Mend(drop=tuple(given)))


def stopping(stop: "StopFlag") -> "Poll":
    """Return what to poll while nothing has been written yet."""
    return lambda: stop.raise_if_requested("Nothing was written.")


def _silent(message: str) -> None:
    """Print nothing: only the first process prints progress."""


def _measure_file(command: Evaluate) -> "tuple[Evaluation, Path | None]":
    from gendi.machine.distributed import team
    from gendi.storage.files import atomic_write
    from gendi.train.progress.signals import StopFlag

    assert command.samples is not None
    path = Path(command.samples)
    kind = find_kind(command.data)
    output = Output.checked(command.out, None, None, [command.data], [command.samples])
    images: Any = team().first_before_others(lambda: kind.read_samples(path))
    data = _open(command.data, images.shape[1:3] if kind.pictures else None)
    with StopFlag() as stop:
        evaluation = _measure(command, images, data, {"samples": str(path)}, None, stopping(stop))
    if output is None:
        return evaluation, None
    team().from_first(lambda: atomic_write(output.claim(), as_text(evaluation)))
    return evaluation, output.path


def _measure(
    command: Evaluate,
    samples: Any,
    data: "Data",
    source: dict[str, Any],
    ema: bool | None,
    poll: "Poll",
    options: dict[str, Any] | None = None,
) -> "Evaluation":
    from gendi.cli.requests import pick_device
    from gendi.data.kinds import kind_of
    from gendi.machine.distributed import team

    tell = say if team().first else _silent
    start = time.perf_counter()
    common: dict[str, Any] = {"seed": command.seed or 0, "ema": ema, "source": json.loads(json.dumps(source))}
    kind = kind_of(data.kind)
    if "extractor" in kind.evaluation_options:
        tell(f"measuring with {', '.join(command.extractor) or 'the extractor that suits the data'}")
        n = command.n or (len(samples) if command.samples is None else min(affordable(data), len(samples)))
        extractor = command.extractor or "auto"
        common |= {"n": n, "extractor": extractor, "device": pick_device(), **(options or {})}
        common |= {"fid_infinity": command.fid_infinity} if "fid_infinity" in kind.evaluation_options else {}
    else:
        if command.extractor:
            raise UsageError(f"--extractor is for pictures; {data.spec} holds none.")
        if command.fid_infinity:
            raise UsageError(f"--fid-infinity is for pictures; {data.spec} holds none.")
        tell("measuring the samples, real rows in their place and four controls")
        common |= {"n": command.n or max(2, min(1000, len(data.heldout))), **(options or {})}
        common |= {"tell": tell} if "tell" in kind.evaluation_options else {}
    if kind.evaluates_together:
        found = kind.evaluate(samples, data, poll=poll, **common)
    else:
        found = team().from_first(lambda: kind.evaluate(samples, data, poll=poll, **common))
    tell(f"measured in {format_duration(time.perf_counter() - start)}")
    return found


def _open(spec: str | None, size: tuple[int, int] | None) -> "Data":
    from gendi.data import open_data

    if spec is None:
        raise UsageError("The model does not say what it was trained on: give --data.")
    return open_data(spec, size=size)
