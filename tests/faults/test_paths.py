"""Paths that no disk holds, users and folders that are not there, too little memory for torch: a sentence, 2 or 5."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from victims import FLAGS

from gendi.cli import main
from gendi.cli.failure import explain

LONG = "x" * 300
DEEP = "/".join(["x" * 200] * 30)
"""More than PATH_MAX, of names that are each short enough."""


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "run")
    return tmp_path


def refused(code: int | tuple[int, ...], *words: str) -> None:
    found = main(list(words))
    assert found in (code if isinstance(code, tuple) else (code,)), words


@pytest.mark.parametrize("name", [LONG, DEEP], ids=["a long name", "a long path"])
def test_names_that_are_too_long(
    here: Path, pictures: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(2, "train", pictures, *FLAGS, "--steps", "1", "--out", name)
    refused(2, "train", pictures, *FLAGS, "--steps", "1", "--out", "new", "--from", name)
    for data in (name, f"{name}.npz", f"shards:{name}", f"mix:{pictures},{name}"):
        refused((2, 3), "train", data, *FLAGS, "--steps", "1", "--out", "new")  # as data that are not there
    refused((2, 3), "train", f"{name}.csv", "--steps", "1", "--out", "new")
    for ending in (".png", ".npz", ""):
        refused(2, "sample", "run", "--n", "2", "--out", name + ending)
    refused(2, "sample", "--again", f"{name}.png")
    refused(2, "evaluate", "run", "--n", "2", "--out", f"{name}.json")
    refused((2, 3), "evaluate", "--samples", f"{name}.npz", "--data", pictures)
    refused((2, 3), "vary", "run", f"{name}.png")
    refused(2, "ema", "run", "--length", "0.1", "--out", name)
    refused(2, "train-classifier", pictures, "--run", "run", "--out", name)
    for command in ("sample", "info", "verify", "report", "runs", "evaluate", "likelihood"):
        refused(2, command, name)
    monkeypatch.setenv("GENDI_CACHE", f"{here}/{name}")
    refused(2, "train", "mnist", "--steps", "1", "--out", "new")
    told = capsys.readouterr().err
    assert "This is a bug" not in told and "Traceback" not in told
    assert sorted(path.name for path in here.iterdir()) == ["run"]


def test_a_name_as_long_as_a_disk_allows_works(here: Path) -> None:
    """Its temporary name is not longer than itself."""
    name = "x" * (os.pathconf(here, "PC_NAME_MAX") - 4)
    for ending in (".png", ".npz"):
        assert main(["sample", "run", "--n", "2", "--out", name + ending]) == 0
        assert (here / (name + ending)).is_file()
    assert main(["evaluate", "run", "--n", "4", "--out", f"{name[1:]}.json"]) == 0


def test_a_slash_after_a_file_s_name(here: Path, pictures: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(2, "sample", "run", "--n", "2", "--out", "x.png/")
    refused(2, "likelihood", "run", "--n", "2", "--out", "x.png/")
    refused(2, "evaluate", "run", "--n", "2", "--out", "x.json/")
    assert capsys.readouterr().err.count("ends in a slash") == 3
    assert sorted(path.name for path in here.iterdir()) == ["run"]
    assert main(["sample", "run", "--n", "2", "--out", "drawn/"]) == 0
    assert len(list((here / "drawn").iterdir())) == 2


def test_a_user_that_is_not_there(
    here: Path, pictures: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENDI_CACHE", "~nouser/cache")
    refused(2, "train", "mnist", "--steps", "1", "--out", "new")
    assert "~nouser/cache cannot be found" in capsys.readouterr().err
    monkeypatch.delenv("GENDI_CACHE")
    for data in ("~nouser/pictures", "shards:~nouser/pictures"):
        refused((2, 3), "train", data, *FLAGS, "--steps", "1", "--out", "new")
    assert "This is a bug" not in capsys.readouterr().err


def test_a_current_folder_that_is_gone(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        refused(2, "info", str(finished))
        refused(2, "train", "mnist", "--steps", "1", "--out", "run")
        assert capsys.readouterr().err.count("The current folder no longer exists") == 2
        assert main(["--help"]) == 0
    finally:
        os.chdir(before)


def limited(megabytes: int) -> Callable[[], None]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    return limit


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space as a whole")
@pytest.mark.parametrize("megabytes", [100, 300, 500])
def test_too_little_address_space_for_torch(finished: Path, tmp_path: Path, megabytes: int) -> None:
    """`ulimit -v`: torch cannot be loaded, which is said in one sentence."""
    out = tmp_path / "new.png"
    command = [sys.executable, "-m", "gendi", "sample", str(finished), "--n", "2", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, preexec_fn=limited(megabytes)
    )
    assert done.returncode == 5, (done.returncode, done.stderr)
    assert "too little memory" in done.stderr.lower() and "Traceback" not in done.stderr


def test_a_library_that_finds_no_room_for_itself_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """The errors of libraries, as they are raised where the limit is above what is asked for at the start."""
    for error in (
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError("libfoo.so: cannot allocate memory"),
        MemoryError(),
    ):
        assert explain(error) == 5
    assert explain(ImportError("No module named 'nonsense'")) == 1
    assert "too little memory to load a library" in capsys.readouterr().err
