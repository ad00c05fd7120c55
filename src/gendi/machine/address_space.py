"""A limit of the address space (`ulimit -v`) that is too small for torch: said at once, as some libraries abort at it.

This module imports only the standard library.
"""

from gendi.errors import ResourceError

LEAST = 600 << 20
"""Bytes of address space below which torch 2.13 for CPUs cannot be loaded: at 500 MB it aborts, with 700 it samples."""


def require_address_space() -> None:
    """Raise `ResourceError` if the limit of the address space of this process is too small for torch."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit not in (-1, resource.RLIM_INFINITY) and limit < LEAST:
        raise ResourceError(
            f"There is too little memory: this process may use {limit >> 20} MB of addresses, and torch needs at least "
            f"{LEAST >> 20} MB to be loaded. Raise the limit (ulimit -v unlimited)."
        )
