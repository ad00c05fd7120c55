"""Registries: they hold what a name in a configuration or on the command line stands for.

A registry may know a built-in entry by its address, "package.module:attribute", so that listing the names loads
nothing. Other entries are added in two ways:

    SAMPLERS.register("mine", SamplerInfo(...))        in Python, for this process

    [project.entry-points."gendi.samplers"]            in the pyproject.toml of an installed package, for every process,
    mine = "my_package.my_module:MY_SAMPLER"           the command line's too

A configuration holds the names of entries and never code; the entries themselves come from gendi and from packages that
a person installed.
"""

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from gendi.errors import UsageError, unknown_name

T = TypeVar("T")


def at_address(address: str) -> Any:
    """Return what stands at an address "package.module:attribute", which is imported if it was not before."""
    module, _, attribute = address.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Registry(Mapping[str, T], Generic[T]):
    """Entries of one sort, by name: built-in ones, those of installed packages, and those that `register` added.

    Iteration and length count all of them. Installed packages are searched once, when a name is not known otherwise or
    when all entries are listed.

    Args:
        what: what messages call an entry, such as "sampler".
        group: the group of entry points for installed packages, such as "gendi.samplers".
        built_in: entries by name; a string is the address of an entry, which is loaded when it is first needed.
    """

    def __init__(self, what: str, group: str, built_in: Mapping[str, T | str]) -> None:
        self.what, self.group = what, group
        self.built_in = tuple(built_in)
        """The names that come with gendi, in their order."""
        self._entries: dict[str, Any] = dict(built_in)
        self._searched = False

    def register(self, name: str, entry: T) -> None:
        """Add an entry for this process. Raises `UsageError` if the name is taken.

        A module that an entry point names may register the same entry when it is imported.
        """
        self._search()
        offered = isinstance(self._entries.get(name), str) and name not in self.built_in
        if name in self._entries and not offered:
            raise UsageError(f"There is a {self.what} named {name!r} already. Choose another name for yours.")
        self._entries[name] = entry

    def announce(self, name: str, address: str) -> None:
        """Make an entry that comes with gendi known, by its address. Nothing is loaded, no package looked through."""
        self.built_in = (*self.built_in, name)
        self._entries[name] = address

    def at_hand(self) -> tuple[str, ...]:
        """Return the names that are known by now, without looking through installed packages."""
        return tuple(self._entries)

    def remove(self, name: str) -> None:
        """Remove an entry that `register` added. Raises `UsageError` for one that comes with gendi."""
        if name in self.built_in:
            raise UsageError(f"The {self.what} {name!r} comes with gendi and cannot be removed.")
        self._entries.pop(name, None)

    def find(self, name: str) -> T:
        """Return the entry called `name`. Raises `UsageError` with the nearest name for an unknown one."""
        if name not in self:
            raise unknown_name(self.what, name, self)
        return self[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            self._search()
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = self._entries[name] = self._loaded(name, entry)
        return cast(T, entry)

    def _loaded(self, name: str, address: str) -> object:
        try:
            return at_address(address)
        except Exception as error:
            if name in self.built_in:
                raise
            raise UsageError(
                f"The {self.what} {name!r} of an installed package cannot be loaded from {address}: {error}. Mend the "
                "package, or uninstall it."
            ) from error

    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            self._search()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._search()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        self._search()
        return len(self._entries)

    def _search(self) -> None:
        """Add the addresses of the entries of installed packages; a name that is taken keeps its entry."""
        if not self._searched:
            self._searched = True
            for point in entry_points(group=self.group):
                self._entries.setdefault(point.name, point.value)
