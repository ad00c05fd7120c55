"""A save is failed or killed at its 1st, 2nd, 3rd ... file-system call until one passes untouched."""

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty import assert_whole, failing, groups, killed_at, save, watched

from gendi.errors import ResourceError
from gendi.train.kept.checkpoint import clean_stale, list_checkpoints, load_latest, save_checkpoint


def temporaries(run: Path) -> list[str]:
    return [path.name for path in run.rglob("*") if path.name.startswith((".tmp-", ".old-"))]


@pytest.mark.parametrize("torn", [False, True])
def test_sigkill_at_any_file_system_call_of_a_save(tmp_path: Path, torn: bool) -> None:
    for at in range(1, 500):
        run = tmp_path / str(at)
        save(run, 1)
        save(run, 2)
        killed = killed_at(at, lambda run=run: save(run, 3), torn)
        committed = max(step for step, _ in list_checkpoints(run))
        found = load_latest(run)
        assert_whole(found, committed)
        assert committed in (2, 3)
        assert found is not None
        assert found.problems == ()
        clean_stale(run)
        assert temporaries(run) == []
        assert_whole(load_latest(run), committed)
        save(run, 4)  # and the run goes on
        assert_whole(load_latest(run), 4)
        if not killed:
            assert committed == 3
            assert at > 30  # 5 files of at least open, write, fsync, close; folders; renames; latest; prune
            return
    raise AssertionError("no save passed untouched")


@pytest.mark.parametrize("persistent", [False, True])
def test_disk_failing_at_any_file_system_call_of_a_save(tmp_path: Path, persistent: bool) -> None:
    for at in range(1, 500):
        run = tmp_path / str(at)
        save(run, 1)
        save(run, 2)
        error = None
        with failing(at, persistent) as made:
            try:
                save(run, 3)
            except ResourceError as caught:
                error = caught
        found = load_latest(run)
        assert found is not None
        assert found.problems == ()
        assert_whole(found, found.step)
        if error is None:
            assert found.step == 3
        else:
            assert "bytes are needed" in str(error)
            assert found.step in (2, 3)
        assert (run / "checkpoints" / "step_00000002").is_dir()  # the one before is never touched
        save(run, 4)
        assert_whole(load_latest(run), 4)
        if len(made) < at:
            assert error is None
            assert at > 40
            return
    raise AssertionError("no save passed untouched")


def test_sigkill_at_any_call_while_the_same_step_is_saved_again(tmp_path: Path) -> None:
    for at in range(1, 500):
        run = tmp_path / str(at)
        save(run, 1)
        save(run, 2)
        killed = killed_at(at, lambda run=run: save(run, 2))
        assert_whole(load_latest(run), 2)
        clean_stale(run)
        assert temporaries(run) == []
        assert_whole(load_latest(run), 2)
        if not killed:
            return
    raise AssertionError("no save passed untouched")


def test_everything_is_synced_before_the_rename_and_pruned_after_it(tmp_path: Path) -> None:
    """The order that survives a power cut: file syncs, folder sync, rename, parent sync, `latest`, then pruning."""
    save(tmp_path, 1)
    log: list[tuple[str, str]] = []

    def act(name: str, args: tuple[Any, ...]) -> None:
        target = str(Path(f"/proc/self/fd/{args[0]}").readlink()) if name in ("fsync", "write") else str(args[0])
        log.append((name, target))

    if not Path("/proc/self/fd").exists():
        return  # the names behind descriptors can be asked for on Linux only
    with watched(act):
        save(tmp_path, 2, keep=1)
    folder = tmp_path / "checkpoints"
    temporary = folder / ".tmp-step_00000002"
    rename = log.index(("rename", str(temporary)))
    names = [f"{name}.safetensors" for name in groups(2)] + ["state.json", "MANIFEST.json"]
    written = [max(i for i, call in enumerate(log) if call == ("write", str(temporary / name))) for name in names]
    synced = [log.index(("fsync", str(temporary / name))) for name in names]
    assert all(w < s for w, s in zip(written, synced))
    assert synced[-1] == max(synced)  # the manifest is last
    assert synced[-1] < log.index(("fsync", str(temporary))) < rename
    parent = log.index(("fsync", str(folder)), rename)
    latest = next(i for i, (name, path) in enumerate(log) if name == "replace" and path.endswith("-latest"))
    prune = log.index(("rename", str(folder / "step_00000001")))
    assert rename < parent < latest < prune


def test_disk_full_at_a_save_says_needed_and_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    monkeypatch.setattr("gendi.storage.disk.free_bytes", lambda folder: 1234)
    with pytest.raises(ResourceError, match=r"bytes are needed and 1,234 are free"):
        save(tmp_path, 2)
    assert temporaries(tmp_path) == []
    monkeypatch.undo()
    assert_whole(load_latest(tmp_path), 1)
    save(tmp_path, 2)
    assert_whole(load_latest(tmp_path), 2)


def test_a_really_refused_write_by_the_system(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the kernel itself cuts a write short in the middle of a file, then refuses."""
    save(tmp_path, 1)
    big = {"model": {"w": torch.zeros(100_000)}}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with pytest.raises(ResourceError, match="too large") as caught:
            save_checkpoint(tmp_path, 2, big, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert temporaries(tmp_path) == []
    assert_whole(load_latest(tmp_path), 1)


def test_ctrl_c_in_a_save_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert temporaries(tmp_path) == []
    assert_whole(load_latest(tmp_path), 1)
