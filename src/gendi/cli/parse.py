"""From words on the command line to a dataclass, by tyro; what is wrong with them becomes one paragraph.

A command is a dataclass: its fields are the flags, their docstrings the help. This module, like every command's,
imports neither torch nor NumPy, so help and refusals come at once.
"""

import contextlib
import dataclasses
import difflib
import io
import itertools
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

import tyro

from gendi.cli import paragraphs
from gendi.cli.known_words import alone, answer, translated, value_of
from gendi.cli.refusals import refusal
from gendi.cli.values import (
    format_count,
    format_duration,
    nearest_duration,
    parse_count,
    parse_duration,
    parse_seed,
    parse_size,
)
from gendi.data.sources import ending_of
from gendi.errors import Mend, UsageError

T = TypeVar("T")
CLASS = "--class"
NAMES = (CLASS, "--negative")
"""The flags whose value is a name of the data, which may begin with a dash."""
TIME = "--max-time"
"""The flag whose value is a duration."""
SEVERAL = ("gendi train", "gendi cells check")
"""The commands that read several files of cells as one."""
UNPREFIXED = "wanted."
"""The group of flags that are written without its name: `gendi.cli.condition_flags`."""
MOST_SAMPLES = 10_000_000
MOST_CALLS = 1_000_000
"""Steps of sampling; the model's T may be less."""


def spec(metavar: str, parse: Callable[[str], Any], show: Callable[[Any], str] = str) -> Any:
    """Return the annotation that has a flag's value read by `parse`, which raises `ValueError`; None is "not given"."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda args: parse(args[0]),
        is_instance=lambda instance: True,
        str_from_instance=lambda instance: ["none" if instance is None else show(instance)],
    )


Duration = Annotated[float | None, spec("DURATION", parse_duration, format_duration)]
Count = Annotated[int | None, spec("COUNT", parse_count, format_count)]
CountFromZero = Annotated[int | None, spec("COUNT", lambda text: 0 if text == "0" else parse_count(text), format_count)]
CountOrAuto = Annotated[
    int | Literal["auto"] | None,
    spec(
        "COUNT|auto",
        lambda text: text if text == "auto" else parse_count(text),
        lambda n: n if n == "auto" else format_count(n),
    ),
]
Samples = Annotated[int | None, spec("COUNT", lambda text: parse_count(text, MOST_SAMPLES), format_count)]
Calls = Annotated[int | None, spec("COUNT", lambda text: parse_count(text, MOST_CALLS), format_count)]
Seed = Annotated[int | None, spec("SEED", parse_seed)]
Size = Annotated[tuple[int, int] | None, spec("SIZE", parse_size, lambda size: f"{size[0]}x{size[1]}")]
Text = Annotated[str | None, spec("NAME", str)]
Folder = Annotated[str | None, spec("PATH", str)]
Number = Annotated[float | None, spec("NUMBER", float)]


_REGISTRY = tyro.constructors.ConstructorRegistry()
paragraphs.add_to(_REGISTRY)


@_REGISTRY.primitive_rule
def _whole_number(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Let the configuration's whole numbers be written 50k and 2M too, and None as "none", as in its TOML."""
    if info.type is int:
        return spec("INT", _int)
    return spec("INT|none", _int_or_none) if info.type == int | None else None


def _int(text: str) -> int:
    try:
        return int(text) if not text[-1:].isalpha() else parse_count(text)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number: write it like 128, 50k or 2M.") from None


def _int_or_none(text: str) -> int | None:
    if text.lower() == "none":
        return None
    try:
        return _int(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a whole number nor none.") from None


def named(metavar: str, hint: str | None = None) -> Any:
    """Return the annotation that has the help call a positional argument `metavar`, and say `hint` of its default."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint)


def shows(default: str) -> Any:
    """Return the annotation that has the help of a flag say `default` in place of the value in the dataclass."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})")


def parse(kind: type[T], args: Sequence[str], prog: str, examples: str = "", default: T | None = None) -> T:
    """Read the words `args` of command `prog` as the dataclass `kind`.

    Where they ask for the help, it is printed, `examples` first, and `SystemExit` is raised.
    Raises `UsageError` naming the word that is wrong, with the nearest flag suggested.
    """
    args = _bound(understood(args, kind), flags(kind))
    head = f"examples:\n{examples}\n\n" if examples else ""
    headed = _Headed(typing.cast(io.TextIOBase, sys.stdout), head)
    try:
        with contextlib.redirect_stdout(headed), contextlib.redirect_stderr(io.StringIO()):
            command, unknown = _read(kind, args, prog, default)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        said = refusal(lambda: _read(kind, args, prog, default))
        error = UsageError(f"{said} See {prog} --help.")
        raise error.mended_by(*(with_a_run() if said.startswith("RUN is missing") else _with_a_unit(args))) from None
    if unknown:
        raise _unknown(unknown, args, written_flags(kind), prog)
    return command


def with_a_run() -> list[Mend]:
    """Return the mend of a command line that names no run: the one that was begun last, or else the first model that
    comes with gendi.
    """
    from gendi.train.kept.folders import newest_run
    from gendi.train.kept.shipped import shipped_names

    newest = newest_run()
    return [Mend(add=(name,)) for name in ([*shipped_names()[:1]] if newest is None else [newest])]


def _with_a_unit(args: Sequence[str]) -> list[Mend]:
    """Return the mend of a command line whose time has no unit, or one that is spelt out; none for any other."""
    given = value_of(TIME, args)
    if given is None:
        return []
    try:
        parse_duration(given)
    except ValueError:
        meant = nearest_duration(given)
        return [] if meant is None else [Mend(add=(TIME, meant))]
    return []


def glance(kind: type[T], args: Sequence[str], prog: str, default: T | None = None) -> T | None:
    """Return what `args` say as far as `kind` knows them, with no help and no refusal; None where they cannot be read.

    For commands whose defaults depend on what is given.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return _read(kind, understood(args, kind), prog, default, add_help=False)[0]
    except SystemExit:
        return None


def _read(
    kind: type[T], args: Sequence[str], prog: str, default: T | None, add_help: bool = True
) -> tuple[T, list[str]]:
    """Return the dataclass that tyro makes of the words, and the words that it does not know."""
    given: dict[str, Any] = {} if default is None else {"default": default}
    with _REGISTRY:
        command, unknown = tyro.cli(
            kind,
            prog=prog,
            args=list(args),
            config=(tyro.conf.FlagCreatePairsOff,),
            return_unknown_args=True,
            add_help=add_help,
            **given,
        )
    return typing.cast(T, command), unknown


def _bound(args: Sequence[str], known: Iterator[str]) -> list[str]:
    """Return words where the name after a flag of `NAMES` is bound to it by "=", if it might be taken for a flag."""
    out, taken = list[str](), {"--help", "-h", "--", *(f"--{name.rpartition('.')[2]}" for name in known)}
    for word in args:
        dashed = word.startswith("-") and word.partition("=")[0] not in taken
        if out and out[-1] in NAMES and dashed:
            out[-1] += f"={word}"
        else:
            out.append(word)
    return out


def understood(args: Sequence[str], kind: Any) -> list[str]:
    """Return words with the flags that others have under the names that a dataclass has for them."""
    return translated(args, {f"--{name.removeprefix(UNPREFIXED)}" for name in flags(kind)})


class _Headed(io.TextIOBase):
    """A stream whose first words have others in front of them."""

    def __init__(self, stream: io.TextIOBase, head: str) -> None:
        self._stream, self._head = stream, head

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        head, self._head = self._head, ""
        return self._stream.write(head + text) - len(head)

    def flush(self) -> None:
        self._stream.flush()


def flags(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the flags of a dataclass, without dashes in front, those of nested ones as `group.flag`."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = prefix + field.name.rstrip("_").replace("_", "-")
        if dataclasses.is_dataclass(hints[field.name]):
            yield from flags(hints[field.name], f"{name}.")
        else:
            yield name


def written_flags(kind: Any) -> list[str]:
    """Return the flags of a dataclass as they are written on a command line, without its positional arguments."""
    return [f"--{name.removeprefix(UNPREFIXED)}" for name in flags(kind) if name not in positional(kind)]


def positional(kind: Any) -> set[str]:
    """Return the names of the arguments of a dataclass that are written without a flag."""
    return {f.name.rstrip("_") for f in dataclasses.fields(kind) if _is_positional(f.type)}


def _is_positional(annotation: object) -> bool:
    metadata = getattr(annotation, "__metadata__", ())
    return any("Positional" in repr(mark) for mark in metadata)


def values_of(kind: Any, flag: str) -> int | None:
    """Return how many words may follow a flag of a dataclass as its values; None if it has no such flag."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = field.name.rstrip("_").replace("_", "-")
        if dataclasses.is_dataclass(hints[field.name]):
            rest = flag if f"{name}." == UNPREFIXED else flag.replace(f"--{name}.", "--", 1)
            own = None if rest == flag and f"{name}." != UNPREFIXED else values_of(hints[field.name], rest)
            if own is not None:
                return own
        elif f"--{name}" == flag:
            return 0 if hints[field.name] is bool else 1 if _is_one(hints[field.name]) else sys.maxsize
    return None


def _is_one(hint: Any) -> bool:
    """Return whether a flag of this type has one value: lists have several."""
    return not any(typing.get_origin(part) is tuple for part in (hint, *typing.get_args(hint)))


def _nearest(flag: str, known: Sequence[str]) -> list[str]:
    """Return the flag whose name, or the last part of it, is most like that of `flag`, if one is."""
    names = {name.rpartition(".")[2]: name for name in reversed(known)} | {name: name for name in known}
    bare = {name.removeprefix("--"): full for name, full in names.items()}
    return [bare[name] for name in difflib.get_close_matches(flag.removeprefix("--"), bare, n=1, cutoff=0.65)]


def _too_many(word: str, args: Sequence[str], prog: str) -> UsageError:
    """Return the refusal of a word that is no flag; several values of --class, or several files of cells, are mended
    into one with commas."""
    said, mends = f"{word!r} is one argument too many.", list[Mend]()
    at = args.index(CLASS) if CLASS in args else len(args)
    values = list(itertools.takewhile(lambda value: not value.startswith("-"), args[at + 1 :]))
    if word in values[1:] and alone(args[:at]):
        all_ = ",".join(values)
        said += f" Several classes are written with commas: {CLASS} {all_}."
        mends.append(Mend(args=(*args[: at + 1], all_, *args[at + 1 + len(values) :])))
    files = list(itertools.takewhile(lambda value: not value.startswith("-"), args))
    if word in files[1:] and prog in SEVERAL and all(ending_of(file) == ".h5ad" for file in files):
        all_ = ",".join(files)
        said += f" Several files of cells are written with commas: {all_}."
        mends.append(Mend(args=(all_, *args[len(files) :])))
    return UsageError(f"{said} See {prog} --help.").mended_by(*mends)


def _unknown(words: Sequence[str], args: Sequence[str], known: Sequence[str], prog: str) -> UsageError:
    word = next((word for word in words if word.startswith("-")), None)
    if word is None:
        return _too_many(words[0], args, prog)
    flag = word.partition("=")[0].replace("_", "-")
    if found := answer(flag, args, known):
        said, mend = found
        return UsageError(f"There is no flag {flag}: {said} See {prog} --help.").mended_by(mend)
    near = [name for name in known if name.endswith(f".{flag.removeprefix('--')}")]
    near = near or _nearest(flag, known)
    hint = f" Perhaps you meant {' or '.join(near)}." if near else ""
    error = UsageError(f"There is no flag {flag}.{hint} See {prog} --help.")
    return error.mended_by(*(Mend(put={flag: name}) for name in near))
