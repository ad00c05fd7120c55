"""Where kinds of data are found: by their name, or by a text or an object that names data of the kind.

A kind is an instance of a subclass of `gendi.data.kind.Kind`. It is either registered in this process,
`KINDS.register("spectra", Spectra())`, or offered by an installed package in the group of entry points `gendi.kinds`:

    [project.entry-points."gendi.kinds"]
    spectra = "my_package.spectra:SPECTRA"

A kind is loaded when it is first needed.
"""

import difflib
import os
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from gendi.data.kind import Kind
from gendi.data.sources import prefix_of
from gendi.errors import Mend, UsageError
from gendi.machine.registry import Registry

IN_MEMORY = "an object in memory"
"""The spec of data that are given as an object instead of a name or a path."""
KINDS: Registry[Kind] = Registry("kind of data", "gendi.kinds", {})
"""The kinds by name. The kinds that come with gendi are announced in `gendi/__init__.py`. Your own are added by
`register`, or by the entry points `gendi.kinds` of an installed package."""
_REST: list[str] = []


def announce(name: str, address: str, *, rest: bool = False) -> None:
    """Add a kind that comes with gendi to `KINDS`.

    Args:
        name: the name of the kind.
        address: where its `Kind` is; it is loaded when it is first needed.
        rest: whether data that no kind claims are of this kind.
    """
    KINDS.announce(name, address)
    if rest:
        _REST[:] = [name]


def kind_of(name: str) -> Kind:
    """Return a kind by its name, or by the `kind` of one of its codecs. Raises `UsageError` if there is none."""
    return KINDS.find(name.partition("-")[0])


def claimed_by(spec: object) -> Kind | None:
    """Return the kind whose prefix a spec has, or which claims the spec.

    The result is None if there is no such kind, or if it is the one that also takes data that no kind claims. Kinds of
    installed packages are loaded only for a spec that no other kind knows.
    """
    if isinstance(spec, str) and not spec:
        return None
    known = KINDS.at_hand()
    kinds = [KINDS[name] for name in known if name not in _REST]
    rest = [KINDS[name] for name in known if name in _REST]
    for kind in (*kinds, *rest):
        if _has_prefix(kind, spec):
            return None if kind in rest else kind
    prefixed = isinstance(spec, str) and prefix_of(spec).isidentifier()  # it may be the prefix of a stranger
    if prefixed and (found := next((kind for kind in _strangers(known) if _has_prefix(kind, spec)), None)):
        return found
    for kind in kinds:
        if kind.claims(spec):
            return kind
    if any(kind.claims(spec) for kind in rest):
        return None
    return next((kind for kind in _strangers(known) if _has_prefix(kind, spec) or kind.claims(spec)), None)


def _strangers(known: Collection[str]) -> Iterator[Kind]:
    """Yield the kinds of installed packages."""
    return (kind for name in KINDS if name not in known and (kind := _loaded(name)))


def as_text(spec: Any) -> Any:
    """Return data that are given as a `Path` as a text, which is no known name, and several paths or texts as one text
    with commas between them; anything else as it is.

    Raises `UsageError` for several paths of which one has a comma.
    """
    if isinstance(spec, list | tuple) and spec and all(isinstance(each, str | os.PathLike) for each in spec):
        texts = [str(as_text(each)) for each in spec]
        if comma := next((text for text in texts if "," in text and len(texts) > 1), None):
            raise UsageError(f"{comma} has a comma in its name, which stands between several files. Rename it.")
        return ",".join(texts)
    if not isinstance(spec, os.PathLike):
        return spec
    text = os.fsdecode(spec)
    return text if os.sep in text else f".{os.sep}{text}"


def find_kind(spec: object) -> Kind:
    """Return the kind of data that a text, a path or an object names.

    Raises `UsageError` for an object that no kind claims, for a text whose prefix is nearly that of a kind, and for an
    address of the web.
    """
    spec = as_text(spec)
    found = claimed_by(spec)
    _refuse_near_prefix(spec, found)
    if found is not None:
        return found
    if not isinstance(spec, str):
        kinds = [KINDS[name] for name in KINDS.at_hand()]
        names = ["a name", "a path", *(kind.objects for kind in kinds if kind.objects)]
        file = " Save it with numpy.save, and give the path of the file." if hasattr(spec, "__array__") else ""
        raise UsageError(f"data are {', '.join(names[:-1])} or {names[-1]}; this is a {type(spec).__name__}.{file}")
    return KINDS[_REST[0]]


def default_preset(spec: object, size: int | tuple[int, int] | None = None) -> str:
    """Return the preset for the data that a text or an object names. Raises `UsageError` as `find_kind`."""
    spec = as_text(spec)
    return find_kind(spec).preset_for(spec, (size, size) if isinstance(size, int) else size)[0]


def _refuse_near_prefix(spec: object, found: Kind | None) -> None:
    """Raise `UsageError` for a text such as `seq:a.csv`, of which there is no file and whose prefix is nearly one, and
    for an address of the web.
    """
    head = prefix_of(spec) if isinstance(spec, str) else ""
    if head in ("http", "https"):
        raise UsageError(f"{spec} is an address, and gendi opens files. Download it, and give the path of the file.")
    if not head.isidentifier() or (found and _has_prefix(found, spec)) or Path(str(spec).partition("?")[0]).exists():
        return
    prefixes = [each for name in KINDS.at_hand() for each in KINDS[name].prefixes or (name,)]
    near = [each for each in prefixes if len(head) > 1 and each.startswith(head)]
    near = near or difflib.get_close_matches(head, prefixes, n=1)
    if head not in prefixes and near:
        other = near[0] + str(spec)[len(head) :]
        error = UsageError(f"{spec}: no kind of data has the prefix {head!r}. Perhaps you meant {other}.")
        raise error.mended_by(Mend(put={str(spec): other}))


def _has_prefix(kind: Kind, spec: object) -> bool:
    return isinstance(spec, str) and prefix_of(spec) in (kind.prefixes or (kind.name,))


def _loaded(name: str) -> Kind | None:
    """Return a kind that a package offers; None, with a warning, if the package cannot be imported."""
    try:
        return KINDS[name]
    except Exception as error:  # the package may fail in any way, and the data may be of another kind
        warnings.warn(f"The kind of data {name!r} of an installed package cannot be loaded: {error}", stacklevel=3)
        return None
