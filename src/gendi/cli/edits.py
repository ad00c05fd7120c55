"""The flags that the commands for editing pictures share, and the work from flags to a file.

A command adds its own flags and names the edit of `gendi.api.editor` that it calls; `gendi.cli.edit_files` reads and
writes pictures. torch is not imported before the flags are read.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from gendi.cli.condition_flags import ConditionFlags
from gendi.cli.console import say, show, show_json
from gendi.cli.outputs import Output
from gendi.cli.parse import Calls, Count, Folder, Samples, Seed, Text, named, parse, shows
from gendi.cli.values import format_duration
from gendi.errors import UsageError

if TYPE_CHECKING:
    from gendi.api.editor import Edited, Editor

REMEMBERED = ("n", "seed", "steps", "sampler", "method", "strength", "weight", "detail", "level")
"""Flags whose defaults may differ between versions: --again takes their values from the file."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Flags of every edit."""

    run: Annotated[tyro.conf.Positional[str], named("RUN")]
    """Folder of a run or of a bundle, or a model that comes with gendi (`gendi models`)."""
    image: Annotated[tyro.conf.Positional[str], named("IMAGE")]
    """A picture; it is read in colour or grey, as the model needs it."""
    wanted: tyro.conf.OmitArgPrefixes[ConditionFlags] = field(default_factory=ConditionFlags)
    out: Annotated[Folder, shows("COMMAND-IMAGE.png in the run's folder")] = None
    """Where to write: NAME.png (the pictures that were given and the results, side by side), or a name without a suffix
    (a new folder with a PNG for each result).
    """
    again: Annotated[Folder, shows("none")] = None
    """A picture or folder that this command wrote, to make the same results again as NAME-again. Only --out,
    --batch-size and --json can be given with it.
    """
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class Draw(Edit):
    """Flags of the edits that draw."""

    n: Annotated[Samples, shows("4")] = None
    """How many results; each is drawn with its own noise."""
    sampler: Annotated[Text, shows("the model's own, often dpmpp-2m-sde-half")] = None
    """How to step from noise to data; `gendi samplers` lists them."""
    steps: Annotated[Calls, shows("as many as the method usually needs")] = None
    """Network calls per result."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of the noise."""
    batch_size: Annotated[Count, shows("64")] = None
    """Results per network call; halved by itself when memory runs out."""


@dataclass(frozen=True, kw_only=True)
class Again:
    """Flags that can be given with --again."""

    again: Annotated[str, named("PATH")]
    out: Folder = None
    batch_size: Count = None
    json: bool = False


E = TypeVar("E", bound=Edit)


def read_edit(kind: type[E], args: Sequence[str], name: str, examples: str) -> tuple[E, tuple[str, ...]]:
    """Return the command that `args` stand for, and the words that describe its work: those of the command line, or
    with --again PATH the words that made PATH.

    Raises `UsageError` for words that are wrong, `DataError` for a PATH that does not say how it was made.
    """
    prog, given = f"gendi {name}", {word.partition("=")[0] for word in args}
    if "--again" not in given or given & {"-h", "--help"}:
        return parse(kind, args, prog, examples), tuple(args)
    try:
        again = parse(Again, args, prog)
    except UsageError as error:
        raise UsageError(f"{error} Together with --again, only --out, --batch-size and --json can be given.") from None
    from gendi.cli.again import read_made

    made = read_made(Path(again.again), name)
    words = made.words
    changes: dict[str, Any] = {"again": again.again, "out": again.out, "json": again.json}
    if issubclass(kind, Draw):
        changes["batch_size"] = again.batch_size
    elif again.batch_size is not None:
        raise UsageError(f"{prog} has no --batch-size.")
    chosen = parse(kind, [*words, *_remembered(kind, words, made.settings)], prog)
    return dataclasses.replace(chosen, **changes), words


def _remembered(kind: type[Edit], words: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """Return words for the settings that a file remembers and that the words which made it leave to their defaults."""
    flags, given = {field.name for field in dataclasses.fields(kind)}, {word.partition("=")[0] for word in words}
    more: list[str] = []
    for name in REMEMBERED:
        value = settings.get(name)
        if name in flags and f"--{name}" not in given and isinstance(value, int | float | str):
            more += [f"--{name}", str(value)]
    return more


def in_range(flag: str, value: float, low: float, high: float, why: str = "") -> float:
    """Return `value`. Raises `UsageError` unless low <= value <= high."""
    if not low <= value <= high:
        raise UsageError(f"{flag} {value:g} is out of range: it must lie between {low:g} and {high:g}{why}.")
    return value


def options_of(command: Draw, method: str) -> dict[str, Any]:
    """Return the options of a method among a command's flags std, zeta and resamplings.

    Raises `UsageError` for an option of another method, and for a value that is not above 0.
    """
    own = {"mmps": ("std",), "pigdm": ("std",), "dps": ("zeta",), "repaint": ("resamplings",)}[method]
    found: dict[str, Any] = {}
    for name in ("std", "zeta", "resamplings"):
        value = getattr(command, name, None)
        if value is None:
            continue
        if name not in own:
            raise UsageError(f"--{name} is no option of --method {method}.")
        if not 0 < value < 1000:
            raise UsageError(f"--{name} {value:g} is out of range: it must lie above 0 and below 1000.")
        found[name] = value
    return found


def perform(
    name: str,
    command: Edit,
    words: Sequence[str],
    settings: dict[str, Any],
    work: "Callable[[Editor], Edited]",
    *,
    n: int,
    options: Mapping[str, Any],
) -> int:
    """Open the model, run `work` on it, write the results, and say where they are.

    The file keeps `words` (of the command line) and `settings`, in addition to what every edit keeps.

    Args:
        n: how many results.
        options: options of drawing and of the method, as `gendi.api.editor.Editor` takes them.
    """
    texts, guides = command.wanted.conditions(), command.wanted.guidance_fields()
    from gendi.api.conditions import as_words
    from gendi.api.editor import Editor
    from gendi.api.guidance import Guidance
    from gendi.cli.again import read_made
    from gendi.cli.edit_files import check_out, hashes, write
    from gendi.cli.requests import pick_device, say_moment
    from gendi.train.kept.bundle import load_bundle
    from gendi.train.kept.folders import place_of
    from gendi.train.progress.signals import StopFlag

    pictures = [command.image, *(getattr(command, name, None) for name in ("mask", "other", "to"))]
    home = place_of(command.run).home
    output = Output(command.out, _destination(name, command, home), home, (), pictures)
    out = output.path
    check_out(out, Path(command.run))
    output.check()
    start = time.perf_counter()
    with StopFlag() as stop:
        guidance = Guidance.from_dict(guides)
        wanted = {"condition": as_words(texts), "guidance": guidance, "device": pick_device(), **options}
        bundle = load_bundle(command.run)
        say_moment(command.run, bundle)
        dataclasses.replace(output, data=[bundle.meta.get("data_spec")]).check_apart()
        editor = Editor(bundle, n, wanted, lambda: stop.raise_if_requested("Nothing was written."))
        pictures += [*texts.values(), *guides.get("negative", {}).values()]
        sha256 = hashes(command.run, editor.models, guidance, pictures)
        if command.again is not None:
            for place, old in read_made(Path(command.again), name).sha256.items():
                if sha256.get(place) != old:
                    say(f"note: {place} is not what {command.again} was made with; the results will differ.")
        common: dict[str, Any] = {"command": name, "run": command.run, "image": command.image}
        common |= {"condition": texts, "guidance": guides, "words": list(words), "sha256": sha256}
        result = work(editor)
        write(output.claim(), result, {**common, **settings, **result.figures})
    seconds = time.perf_counter() - start
    say(f"done in {format_duration(seconds)}")
    if command.json:
        shape = (len(result.pictures), *editor.codec.shape)
        show_json({"out": out, "shape": shape, "seconds": seconds, "settings": common | settings, **result.figures})
    else:
        show(f"{out}")
    return 0


def drawing_options(command: Draw) -> dict[str, Any]:
    """Return the options of drawing that were given."""
    return {name: getattr(command, name) for name in ("steps", "sampler", "seed", "batch_size")}


def _destination(name: str, command: Edit, run: Path | None) -> Path:
    """Return the place of the results if the user names none; `run` is None for a bundle alone."""
    if command.again is not None:
        old = Path(command.again)
        return old.with_name(f"{old.stem}-again{old.suffix}")
    return (Path() if run is None else run) / f"{name}-{Path(command.image).stem}.png"
