"""`gendi verify`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gendi.cli.console import show, show_json
from gendi.cli.parse import named, parse
from gendi.cli.runs import read_config
from gendi.errors import BundleError, UsageError

if TYPE_CHECKING:
    from gendi.train.kept.verify import Checked

EXAMPLES = """\
  gendi verify runs/mnist          every checkpoint, the bundle, and all other files of the run
  gendi verify runs/mnist --data   the data set too: is it the one of the training?
  gendi verify downloaded --json   a bundle from elsewhere"""


@dataclass(frozen=True)
class Verify:
    """Check every byte of a run or a bundle; the exit code is 4 if one is wrong. Nothing is changed, and the run may be
    training meanwhile.
    """

    run: Annotated[tyro.conf.Positional[str], named("RUN|BUNDLE")]
    """A folder: of a run, of a bundle, or of several; or a model that comes with gendi."""
    data: bool = False
    """Read the data of the run again and compare their fingerprint."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Verify, args, "gendi verify", EXAMPLES)
    from gendi.train.kept.folders import place_of
    from gendi.train.kept.verify import verify

    folder = place_of(command.run).folder
    checked: list[Checked] = []
    for found in verify(folder):
        checked.append(found)
        if not command.json:
            show(_line(folder, found))
    problems = [found.problem for found in checked if found.problem is not None]
    against = _compare_data(folder, checked) if command.data else None
    if against is not None:
        if not command.json:
            state = "ok " if against["matches"] else "BAD"
            show(f"{state}  data           {against['spec']}, {against['fingerprint'][:16]}")
        problems += [against["problem"]] if not against["matches"] else []
    if command.json:
        show_json(
            {"folder": folder, "ok": not problems, "checked": [asdict(found) for found in checked], "data": against}
        )
    if problems:
        raise BundleError(f"{len(problems)} of the {len(checked) + command.data} checked are bad. {' '.join(problems)}")
    return 0


def _line(folder: Path, found: "Checked") -> str:
    state = "ok " if found.problem is None else "BAD"
    path = found.path.relative_to(folder) if found.path != folder else found.path
    return f"{state}  {found.kind:<13}  {path}  {found.bytes / 1e6:,.2f} MB, {found.seconds:.2f} s"


def _compare_data(folder: Path, checked: "Sequence[Checked]") -> dict[str, Any]:
    """Open the data that a run or bundle names, and compare their fingerprint with every one that was found."""
    from gendi.data import open_data

    spec, size = _spec(folder)
    if not isinstance(spec, str):
        raise UsageError(f"{folder} does not say which data it was trained on: --data cannot compare them.")
    ours = open_data(spec, size=size).fingerprint
    other = [found.path for found in checked if found.fingerprint not in (None, ours)]
    problem = f"{other[0]} was trained on other data than {spec} holds now ({ours[:16]})." if other else None
    return {"spec": spec, "fingerprint": ours, "matches": not other, "problem": problem}


def _spec(folder: Path) -> tuple[Any, int | tuple[int, int] | None]:
    """Return the data set that a run's config.toml, or a bundle, was trained on, and the size it was brought to."""
    from gendi.data.places import from_here

    if (folder / "config.toml").is_file():
        stored = read_config(folder).get("data", {})
        spec, size = from_here(stored.get("spec"), folder), stored.get("size")
    else:
        from gendi.train.kept.bundle import load_bundle

        meta = load_bundle(folder).meta
        spec, size = meta.get("data_spec"), meta.get("size")
    if isinstance(size, list):
        return spec, size[0] if len(size) == 1 else (size[0], size[1])
    return spec, size
