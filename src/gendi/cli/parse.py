"""From words on the command line to a dataclass, by tyro; what is wrong with them becomes one paragraph.

A command is a dataclass: its fields are the flags, their docstrings the help. This module, like every command's,
imports neither torch nor NumPy, so help and refusals come at once.
"""

import contextlib
import dataclasses
import difflib
import io
import os
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

import tyro

from gendi.cli.values import (
    format_count,
    format_duration,
    parse_count,
    parse_duration,
    parse_seed,
    parse_size,
)
from gendi.errors import UsageError

T = TypeVar("T")
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


@_REGISTRY.primitive_rule
def _whole_number(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Have the configuration's whole numbers take 50k and 2M too, and those of type int | None "none", as its TOML
    does.
    """
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

    Prints the help, `examples` first, and raises `SystemExit` if it is asked for.
    Raises `UsageError` naming the word that is wrong, with the nearest flag suggested.
    """
    settings: dict[str, Any] = {} if default is None else {"default": default}
    settings |= {"prog": prog, "args": list(args), "config": (tyro.conf.FlagCreatePairsOff,)}
    words = args[: args.index("--")] if "--" in args else args
    if "-h" in words or "--help" in words:
        if examples:
            print(f"examples:\n{examples}\n")
        with _REGISTRY:
            tyro.cli(kind, **settings)
        raise SystemExit(0)
    refusal = io.StringIO()
    try:
        with _REGISTRY, contextlib.redirect_stderr(refusal), _wide_terminal():
            command, unknown = tyro.cli(kind, return_unknown_args=True, **settings)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(f"{_first_section(refusal.getvalue())} See {prog} --help.") from None
    if unknown:
        raise _unknown(unknown, [f"--{name}" for name in flags(kind)], prog)
    return typing.cast(T, command)


def flags(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the flags of a dataclass, without dashes in front, those of nested ones as `group.flag`."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = prefix + field.name.rstrip("_").replace("_", "-")
        if dataclasses.is_dataclass(hints[field.name]):
            yield from flags(hints[field.name], f"{name}.")
        else:
            yield name


def _unknown(words: Sequence[str], known: Sequence[str], prog: str) -> UsageError:
    word = next((word for word in words if word.startswith("-")), None)
    if word is None:
        return UsageError(f"{words[0]!r} is one argument too many. See {prog} --help.")
    flag = word.partition("=")[0].replace("_", "-")
    near = [name for name in known if name.endswith(f".{flag.removeprefix('--')}")]
    near = near or difflib.get_close_matches(flag, known, n=1, cutoff=0.5)
    hint = f" Perhaps you meant {' or '.join(near)}." if near else ""
    return UsageError(f"There is no flag {flag}.{hint} See {prog} --help.")


@contextlib.contextmanager
def _wide_terminal() -> Iterator[None]:
    """Have tyro break no line of what it refuses."""
    old = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        if old is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = old


def _first_section(box: str) -> str:
    """Return what is wrong, out of the box that tyro draws: the lines before the first rule, as one line."""
    lines: list[str] = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():
        inside = line.strip("│ ").strip()
        if not inside or inside[0] in "╭╰":
            continue
        if set(inside) == {"─"}:
            break
        lines.append(inside)
    text = " ".join(lines).replace("Error parsing ", "")
    if missing := re.fullmatch(r"Missing from .*?: (\S+) (.*) \(required\)", text):
        text = f"{missing[1]} is missing: {missing[2]}"
    if not text:
        return "The arguments could not be read."
    return text if text[-1] in ".!?" else f"{text}."
