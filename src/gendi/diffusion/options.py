"""Options of a registry entry: the keyword-only arguments of its function, which a command line gives as words."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Literal, get_origin

from gendi.errors import UsageError, unknown_name


class WithOptions:
    """An entry with a function `run`, whose keyword-only arguments are its options."""

    run: Callable[..., Any]
    not_options: ClassVar[tuple[str, ...]] = ("calls",)
    """Keyword-only arguments that the caller gives, and not a person."""

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options that `run` takes."""
        kinds = inspect.signature(self.run).parameters
        return tuple(name for name, p in kinds.items() if p.kind is p.KEYWORD_ONLY and name not in self.not_options)

    def read_option(self, sampler: str, name: str, text: str) -> float | int | bool | str:
        """Return the value of option `name` that `text` stands for, of the type that `run` takes.

        Raises `UsageError` for an unknown option, an option that cannot be written as text, or a text of another type.
        """
        self.check_option(sampler, name)
        kind = inspect.signature(self.run).parameters[name].annotation
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            if kind in (int, float):
                number: float | int = kind(text)
                return number
        except ValueError:
            raise UsageError(f"{name} = {text!r} is no {'whole number' if kind is int else 'number'}.") from None
        if kind is str or get_origin(kind) is Literal:
            return text
        raise UsageError(f"the option {name} cannot be given as a word; give it from Python.")

    def check_option(self, sampler: str, name: str) -> None:
        """Raise `UsageError` for an option that `run` does not have, naming those it has; `sampler` is its name."""
        if name not in self.options:
            if not self.options:
                raise UsageError(f"the sampler {sampler} has no options; got {name!r}.")
            raise unknown_name(f"option of the sampler {sampler}", name, self.options)

    def takes_argument(self, name: str) -> bool:
        """Return whether `run` has an argument of this name."""
        return name in inspect.signature(self.run).parameters
