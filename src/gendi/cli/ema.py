"""`gendi ema`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gendi.cli.console import program, say, show, show_json, table
from gendi.cli.outputs import Output
from gendi.cli.parse import Count, Folder, named, parse, shows, with_a_run
from gendi.cli.runs import read_config
from gendi.errors import Mend, UsageError
from gendi.storage.files import read_json
from gendi.train.weights.lengths import check_length

if TYPE_CHECKING:
    from gendi.train.kept.bundle import Bundle

EXAMPLES = """\
  gendi ema runs/mnist --length 0.05                   a bundle, runs/mnist/ema/length_0.05
  gendi ema runs/mnist --length 0.02 0.1 0.2 --json    three of them
  gendi ema runs/mnist --length 0.1 --at 1M --out early/
  gendi ema runs/mnist --length 0.1 --replace          replaces the run's own average"""


@dataclass(frozen=True)
class Ema:
    """Average the weights of a finished run over another length, from the snapshots that it took
    (gendi train DATA --optim.posthoc-every 50k). The snapshots stay.
    """

    run: Annotated[tyro.conf.Positional[str], named("RUN", "(required)")] = ""
    """Folder of the run."""
    length: Annotated[tuple[float, ...], shows("none: required")] = ()
    """Widths sigma_rel of the averages, as shares of the time trained: above 0, up to 0.2887 (the plain mean)."""
    at: Annotated[Count, shows("the end")] = None
    """Average up to this many images seen, instead of all; a snapshot must have been taken there."""
    out: Annotated[Folder, shows("ema/length_... in the run's folder")] = None
    """Folder of the bundle; with several lengths, the folder that their bundles are put into."""
    replace: bool = False
    """Replace the run's own bundle by it."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Ema, args, "gendi ema", EXAMPLES)
    _check(command)
    from gendi.storage.lock import RunLock
    from gendi.train.kept.bundle import save_bundle
    from gendi.train.kept.folders import bundle_folder, place_of
    from gendi.train.kept.snapshots import reconstruct_ema

    run = Path(command.run)
    if place_of(run).shipped:
        raise UsageError(f"{run} comes with gendi, without the snapshots of its training: there is nothing to average.")
    if not (run / "config.toml").is_file() and (run / "config.json").is_file():
        raise UsageError(f"{run} is a bundle, and snapshots are in the folder of its run. Give that folder, runs/NAME.")
    own = bundle_folder(run)
    places = {length: own if command.replace else _place(command, run, length) for length in command.length}
    if not command.replace:
        for place in places.values():
            _refuse_foreign(place, own)
            Output(command.out and str(place), place, run, [_data(run)]).check_apart()
    found: list[dict[str, Any]] = []
    for length, place in places.items():
        bundle = reconstruct_ema(run, length, command.at)
        if command.replace:
            with RunLock(run):
                save_bundle(place, bundle)
        else:
            save_bundle(Output(None, place, run).note(), bundle)
        found.append(_row(bundle, place))
    if command.json:
        show_json({"run": str(run), "averages": found})
        return 0
    cells = [(f"{r['sigma_rel']:g}", f"{r['images']:,}", f"{r['relative_error']:.2%}", r["bundle"]) for r in found]
    show(table(cells, ("length", "images", "error of the profile", "bundle")))
    if command.replace:
        say(f"the run's own average is still in its last checkpoint: delete {own} and train again to have it back")
    say("next:\n" + "\n".join(f"  {program()} evaluate {run if command.replace else r['bundle']}" for r in found))
    return 0


def _check(command: Ema) -> None:
    """Refuse what cannot mean anything, before anything heavy is imported."""
    if not command.run:
        error = UsageError("RUN is missing: say which run's weights to average. See gendi ema --help.")
        raise error.mended_by(*with_a_run())
    if not command.length:
        raise UsageError("--length is missing: say how wide the average is, for instance --length 0.05 0.1.").mended_by(
            Mend(add=("--length", "0.05", "0.1"))
        )
    for length in command.length:
        check_length(length, f"--length {length:g}")
    if len({f"{length:g}" for length in command.length}) != len(command.length):
        raise UsageError("--length names the same length twice: give each once.")
    if command.replace and command.out is not None:
        raise UsageError("--replace and --out cannot be given together: the bundle goes to one place.")
    if command.replace and len(command.length) > 1:
        raise UsageError("--replace takes one --length: a run has one bundle.")


def _place(command: Ema, run: Path, length: float) -> Path:
    name = f"length_{length:g}" + ("" if command.at is None else f"_images_{command.at}")
    if command.out is None:
        return run / "ema" / name
    return Path(command.out) / name if len(command.length) > 1 else Path(command.out)


def _refuse_foreign(place: Path, own: Path) -> None:
    """Refuse a place that holds anything but an average that this command wrote."""
    here, sealed = place.resolve(), own.resolve()
    if here == sealed:
        raise UsageError(f"{place} is the run's own bundle. Give --replace to put the average in its place.")
    if sealed in here.parents:
        raise UsageError(f"{place} lies inside the bundle, whose files are sealed. Choose another folder.")
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    config = place / "config.json"
    data = read_json(config) if config.is_file() else None
    meta = data.get("meta") if isinstance(data, dict) else None
    of_a_run = place.name == "bundle" and (place.parent / "config.toml").exists()
    if not isinstance(meta, dict) or "posthoc_ema" not in meta or of_a_run:
        raise UsageError(f"{place} holds something that gendi ema did not write. Choose another folder.")


def _data(run: Path) -> object:
    """Return the spec of the data of a run, None if it does not say."""
    data = read_config(run).get("data") if (run / "config.toml").is_file() else None
    return data.get("spec") if isinstance(data, dict) else None


def _row(bundle: "Bundle", place: Path) -> dict[str, Any]:
    about = bundle.meta["posthoc_ema"]
    row = {key: about[key] for key in ("sigma_rel", "gamma", "images", "relative_error")}
    return {**row, "snapshots": len(about["snapshots"]), "bundle": str(place)}
