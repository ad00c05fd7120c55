"""Registries: built-in entries by address, entries of installed packages, entries of this process."""

import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

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


def offer(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    points = importlib.metadata.EntryPoints([importlib.metadata.EntryPoint(name, address, "gendi.colours")])
    monkeypatch.setattr("gendi.machine.registry.entry_points", lambda group: points.select(group=group))


def test_a_module_behind_an_entry_point_may_register_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = make()
    (tmp_path / "green_module.py").write_text(
        "from green_registry import REGISTRY\nGREEN = 5\nREGISTRY.register('green', GREEN)\n"
    )
    shared = ModuleType("green_registry")
    shared.REGISTRY = registry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "green_registry", shared)
    monkeypatch.syspath_prepend(str(tmp_path))
    offer(monkeypatch, "green", "green_module:GREEN")
    assert registry.find("green") == 5


@pytest.mark.parametrize("address", ["no_such_module:x", "math:no_such_number"])
def test_a_package_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    offer(monkeypatch, "broken", address)
    with pytest.raises(UsageError, match=f"'broken' of an installed package cannot be loaded from {address}"):
        make().find("broken")
