"""The make targets, without running them: what they would do, and what they say to a Python that is too old."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "pyproject.toml"):
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder / name)
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, check=False, env=clean)


def test_demo_passes_the_minutes_and_torch_is_installed_first(tmp_path: Path) -> None:
    plan = make(tmp_path, "-n", "demo", "MINUTES=2").stdout
    assert "gendi demo --minutes 2" in plan
    assert plan.index("torch==2.13.0") < plan.index("-e .") < plan.index("gendi demo")
    assert "--group dev" not in plan


def test_the_second_time_nothing_is_installed(tmp_path: Path) -> None:
    make(tmp_path, "help")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").touch()
    assert make(tmp_path, "-n", "demo").stdout.splitlines() == [".venv/bin/gendi demo --minutes 8"]


def test_test_runs_lint_types_and_tests(tmp_path: Path) -> None:
    plan = make(tmp_path, "-n", "test").stdout
    places = [plan.index(part) for part in ("--group dev", "ruff check", "ruff format --check", "mypy", "pytest -n 2")]
    assert places == sorted(places)


def test_an_old_python_is_told_so(tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo "Python 3.9.2"; else exit 1; fi\n')
    old.chmod(0o755)
    done = make(tmp_path, "demo", f"PYTHON={old}")
    assert done.returncode != 0
    assert "gendi needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (tmp_path / ".venv" / "installed").exists()


def test_the_first_target_explains(tmp_path: Path) -> None:
    assert "make demo" in make(tmp_path).stdout
