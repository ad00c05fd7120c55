"""`gendi sample`."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gendi.cli.condition_flags import ConditionFlags, flag, is_given
from gendi.cli.console import say, show, show_json
from gendi.cli.outputs import Output
from gendi.cli.parse import Calls, Count, Folder, Number, Samples, Seed, Text, parse, shows, with_a_run
from gendi.cli.values import format_duration
from gendi.errors import Mend, UsageError

if TYPE_CHECKING:
    from gendi.api.request import Request
    from gendi.train.kept.bundle import Bundle

EXAMPLES = """\
  gendi sample digits                                   from a model that comes with gendi
  gendi sample runs/mnist                               a grid of 64, runs/mnist/samples.png
  gendi sample runs/mnist --n 1000 --out digits.npz     an archive for gendi evaluate
  gendi sample runs/mnist --n 100 --out drawn/          one PNG per sample
  gendi sample runs/mnist --sampler ddim --steps 50 --eta 0.5 --seed 7
  gendi sample runs/mnist --sampler heun-churn --steps 40 --options churn=20
  gendi sample runs/mnist --class 0,1,2 --per-class 10 --guidance 2
  gendi sample runs/mnist --class three --guidance 3 --guidance-interval 0.3 5
  gendi sample runs/cells --n 500 --condition cell_type="B cell" --out fake.h5ad
  gendi sample runs/cells --condition dose=0,1,10 --per-class 200
  gendi sample runs/seqs --infill "ACD??F"              sequences: only the letters for ? are drawn
  gendi sample runs/people --where "age=40,sex=F"       tables: rows with these cells, whatever the network was told
  gendi sample --again runs/mnist/samples.png           the same samples again
  torchrun --nproc-per-node 4 -m -- gendi sample runs/mnist --n 10k --out many.npz"""


@dataclass(frozen=True)
class Sample:
    """Draw samples. Sample i of a seed is the same picture whatever --n and --batch-size are."""

    run: Annotated[tyro.conf.Positional[Folder], shows("with --again, that of the samples")] = None
    """Folder of a run or of a bundle, or a model that comes with gendi (`gendi models`)."""
    n: Annotated[Samples, shows("64")] = None
    """How many samples."""
    steps: Annotated[Calls, shows("the model's own, often 20")] = None
    """Network calls per sample."""
    sampler: Annotated[Text, shows("the model's own, often dpmpp-2m-sde-half")] = None
    """How to step from noise to data; `gendi samplers` lists them."""
    eta: Annotated[Number, shows("the sampler's own")] = None
    """Noise that ddim or dpmpp-2m adds on the way: 0 adds none, 1 as much as the reverse process does."""
    grid: Annotated[Text, shows("the sampler's own")] = None
    """Times to visit: uniform, quadratic, log-snr, karras, leading, trailing or linspace."""
    temperature: Annotated[Number, shows("1: the model's own distribution")] = None
    """Below 1, samples are more typical and less varied. Any sampler takes it."""
    noise_scale: Annotated[Number, shows("1")] = None
    """Factor on the fresh noise of a sampler that adds noise on the way."""
    options: tuple[str, ...] = ()
    """The sampler's options, NAME=VALUE; `gendi samplers --json` names them."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of the noise."""
    per_class: Annotated[Count, shows("the classes in turn")] = None
    """Samples of each --class, or of each value in --condition NAME=A,B; instead of --n."""
    wanted: tyro.conf.OmitArgPrefixes[ConditionFlags] = field(default_factory=ConditionFlags)
    out: Annotated[Folder, shows("samples.png, .h5ad, .csv or .fasta in the run's folder")] = None
    """Where to write: NAME.png (a grid), NAME.npz (uint8 array "samples"), or a name without a suffix (a folder of
    PNG); cells NAME.h5ad, lines of a table NAME.csv or NAME.parquet, sequences NAME.fasta, NAME.txt or NAME.csv.
    """
    batch_size: Annotated[Count, shows("250")] = None
    """Samples per network call; halved by itself when memory runs out."""
    infill: Annotated[Text, shows("none")] = None
    """Sequences: the letters that are fixed, for instance "ACD??F"; each ? is drawn, and a star at the end lets the
    sequence go on.
    """
    profiles: Annotated[Text, shows("estimated")] = None
    """Cells: the mean expression of classes, "estimated", or drawn from what is not known of it: "per-cell" or
    "per-seed".
    """
    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Tables: cells that are given in every row, "age=40,sex=F"; nothing behind the = is a missing cell, and
    "age=30..40", "age=30.." and "age=..40" are ranges. The other cells are drawn given these, without new training;
    --steps then counts noise levels. The flag may be repeated.
    """
    again: Annotated[Folder, shows("none")] = None
    """A grid, picture, folder or .npz that gendi sample wrote: draw the same samples again, and write them to
    NAME-again.
    """
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Sample, args, "gendi sample", EXAMPLES)
    _check(command)
    from gendi.api.models import Models
    from gendi.api.prepared import prepare
    from gendi.api.request import read_request
    from gendi.api.sample import draw
    from gendi.cli.requests import announced, classes_asked, made_here, say_moment, say_what_changed
    from gendi.data.kinds import kind_of
    from gendi.machine.distributed import together
    from gendi.train.kept.bundle import load_bundle
    from gendi.train.kept.folders import bundle_folder, place_of
    from gendi.train.progress.signals import StopFlag

    old = read_request(Path(command.again)) if command.again is not None else None
    run = command.run or (old.run if old is not None else "")
    bundle = load_bundle(run)
    wanted = _request(command, run, bundle) if old is None else dataclasses.replace(old, run=run)
    models = Models.read(bundle, wanted.guidance)
    request = made_here(wanted, command.batch_size, models)
    if old is not None and command.again is not None:
        folders = {} if request.guidance is None else request.guidance.folders()
        places = {"": run} | {name: str(folders[name]) for name in request.guides}
        before, now = {"": old.weights, **old.guides}, {"": request.weights, **request.guides}
        say_what_changed(command.again, places, before, now)
    say_moment(run, bundle)
    kind = kind_of(bundle.codec.kind)
    home = place_of(run).home
    usual = _destination(command, home, kind.usual_suffix(bundle.codec))
    output = Output(command.out, usual, home, [bundle.meta.get("data_spec")], [command.again])
    out = output.path
    if bundle_folder(Path(run)).resolve() in out.resolve().parents:
        raise UsageError(f"--out {out} lies inside the bundle, whose files are sealed. Choose another folder.")
    kind.check_destination(out, request.n, bundle.codec)
    output.check()
    ready = prepare(request, models)
    for text in ready.warnings:
        say(f"warning: {text}")
    for text in ready.notes:
        say(f"note: {text}")
    start = time.perf_counter()
    with together() as team, StopFlag() as stop:
        samples = draw(ready, announced(request, stop, team.first))
        seconds = time.perf_counter() - start
        classes = classes_asked(ready)
        team.from_first(lambda: kind.write(output.claim(), samples, request.texts, request.how.first_index, **classes))
        if not team.first:
            return 0
    say(f"drawn in {format_duration(seconds)}")
    if command.json:
        made = {"step": bundle.meta.get("step"), "settings": request.to_dict()}
        show_json({"out": out, "shape": samples.shape, "seconds": seconds, **made})
    else:
        show(f"{out}")
    return 0


def _check(command: Sample) -> None:
    if command.eta is not None and not 0 <= command.eta <= 1:
        raise UsageError(f"--eta {command.eta:g} is out of range: it must lie between 0 and 1.")
    own_way = ("sampler", "eta", "grid", "temperature", "noise_scale", "options")
    if command.where and (given := [flag(name) for name in own_way if is_given(getattr(command, name))]):
        raise UsageError(
            f"{' and '.join(given)} cannot be given with --where: rows with given cells are drawn in a way of their "
            "own."
        ).mended_by(Mend(drop=tuple(given)))
    if not command.wanted.conditions() and command.per_class is not None:
        raise UsageError("--per-class needs --class A,B or --condition NAME=A,B: give one of them.")
    if command.per_class is not None and command.n is not None:
        raise UsageError("--per-class and --n both say how many samples to draw: give one of them.")
    if command.again is None:
        command.wanted.guidance_fields()
        if command.run is None:
            error = UsageError("Say which run to sample from: gendi sample RUN. See gendi sample --help.")
            raise error.mended_by(*with_a_run())
        return
    fixed = (
        "n",
        "steps",
        "sampler",
        "eta",
        "grid",
        "temperature",
        "noise_scale",
        "options",
        "seed",
        "per_class",
        "infill",
        "profiles",
        "where",
    )
    given = [flag(name) for name in fixed if is_given(getattr(command, name))] + command.wanted.given()
    if given:
        raise UsageError(
            f"{' and '.join(given)} cannot be given with --again, which takes them from {command.again}. Leave them "
            "out, or give the run and all flags without --again."
        ).mended_by(Mend(drop=tuple(given)))


def _request(command: Sample, run: str, bundle: "Bundle") -> "Request":
    from gendi.api.conditions import as_words, in_blocks
    from gendi.cli.requests import make_request, read_options

    n = command.n or 64
    if command.per_class is not None:
        n = in_blocks(bundle.config.conditions, as_words(command.wanted.conditions()), command.per_class)
    request = make_request(bundle, run, n, command)
    options = read_options(command.options, command.eta, request.how.sampler, bundle)
    heat = {name: value for name in ("temperature", "noise_scale") if (value := getattr(command, name)) is not None}
    how = dataclasses.replace(request.how, grid=command.grid, options=options, **heat)
    named = dataclasses.replace(request, infill=command.infill, profiles=command.profiles)
    request = dataclasses.replace(named, how=how, per_class=command.per_class)
    return _with_cells(request, command, bundle) if command.where else request


def _with_cells(request: "Request", command: Sample, bundle: "Bundle") -> "Request":
    from gendi.api.impute import table_codec
    from gendi.data.tables.cells import split_where
    from gendi.diffusion.gaussian.inverse.box import LEVELS

    names = [column.name for column in table_codec(bundle.codec, "--where").schema.columns]
    how = dataclasses.replace(request.how, steps=command.steps or LEVELS)
    return dataclasses.replace(request, how=how, where=split_where(command.where, names))


def _destination(command: Sample, run: Path | None, suffix: str) -> Path:
    """Return the place of the samples if the user names none; `run` is None for a bundle alone."""
    if command.again is not None:
        old = Path(command.again)
        return old.with_name(f"{old.stem}-again{old.suffix}")
    return (Path() if run is None else run) / f"samples{suffix}"
