"""Registries: built-in entries by address, entries of installed packages, entries of this process."""

import importlib.metadata
import sys

import pytest

from gendi.errors import UsageError
from gendi.machine.registry import Registry


def make() -> Registry[object]:
    return Registry("colour", "gendi.colours", {"pi": "math:pi", "two": 2})


def test_a_built_in_entry_is_loaded_when_it_is_needed() -> None:
    import math

    registry: Registry[object] = Registry("colour", "gendi.colours", {"lazy": "this_is_no_module:x", "pi": "math:pi"})
    assert list(registry) == ["lazy", "pi"]  # listing loads nothing
    assert registry["pi"] == math.pi
    with pytest.raises(ModuleNotFoundError):
        registry["lazy"]
    assert "this_is_no_module" not in sys.modules


def test_an_entry_of_this_process() -> None:
    registry = make()
    registry.register("mine", 3)
    assert registry.find("mine") == 3 and len(registry) == 3
    with pytest.raises(UsageError, match="already"):
        registry.register("mine", 4)
    registry.remove("mine")
    assert "mine" not in registry
    with pytest.raises(UsageError, match="comes with gendi"):
        registry.remove("two")


def test_an_entry_of_an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    points = importlib.metadata.EntryPoints(
        [
            importlib.metadata.EntryPoint("tau", "math:tau", "gendi.colours"),
            importlib.metadata.EntryPoint("two", "math:e", "gendi.colours"),
        ]
    )
    monkeypatch.setattr("gendi.machine.registry.entry_points", lambda group: points.select(group=group))
    registry = make()
    assert registry.find("tau") == pytest.approx(6.283185307)
    assert registry.find("two") == 2  # a package cannot take a built-in name


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="There is no colour named 'tow'. Perhaps you meant 'two'."):
        make().find("tow")
