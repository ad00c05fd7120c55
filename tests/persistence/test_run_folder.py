"""One process per run folder, files that are whole or absent, and what a run says of itself."""

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from faulty import failing, killed_at, save
from hypothesis import given, settings
from hypothesis import strategies as st

from gendi.diffusion.gaussian.config import ProcessConfig
from gendi.errors import BundleError, ResourceError, UsageError
from gendi.storage.disk import check_writable, free_bytes, require_space
from gendi.storage.files import atomic_write, read_json
from gendi.storage.lock import RunLock
from gendi.storage.toml import dump_toml, read_toml, write_toml
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import clean_stale
from gendi.train.kept.status import MetricsLog, read_lines, read_status, write_status

HOLDER = """
import sys, time
from pathlib import Path
from gendi.storage.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_two_processes_one_run_folder(tmp_path: Path) -> None:
    """The second is refused with pid and host; a SIGKILL of the first frees the folder."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with (
                pytest.raises(UsageError, match=rf"in use by pid {other.pid} on host \S+\.") as caught,
                RunLock(tmp_path),
            ):
                pass
            assert caught.value.exit_code == 2
        finally:
            other.send_signal(signal.SIGKILL)
    with RunLock(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"{os.getpid()} ")
    with RunLock(tmp_path):
        pass


def test_the_lock_is_not_reentrant_and_survives_forked_children(tmp_path: Path) -> None:
    def child() -> None:
        with pytest.raises(UsageError, match=f"pid {os.getppid()}"), RunLock(tmp_path):
            pass

    with RunLock(tmp_path) as lock:
        with pytest.raises(UsageError, match=f"pid {os.getpid()}"), RunLock(tmp_path):
            pass
        assert not killed_at(0, child)
        assert not killed_at(0, lambda: lock.__exit__(None, None, None))  # a child cannot release it
        with pytest.raises(UsageError), RunLock(tmp_path):
            pass


def test_a_worker_that_outlives_its_parent_does_not_hold_the_lock(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()

    def parent() -> None:
        with RunLock(tmp_path):
            pid = os.fork()
            if pid == 0:
                os.close(write_end)
                os.read(read_end, 1)  # until the test is over
                os._exit(0)
            os._exit(0)

    try:
        assert not killed_at(0, parent)
        with RunLock(tmp_path):
            pass
    finally:
        os.close(write_end)
        os.close(read_end)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """What it leads to would be overwritten by the holder's note."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(ResourceError, match=r"\.lock"), RunLock(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_atomic_write_failed_at_any_call_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    for at in range(1, 50):
        path.write_bytes(b"old")
        with failing(at) as made, contextlib.suppress(ResourceError):
            atomic_write(path, "new")
        assert path.read_bytes() in (b"old", b"new")
        assert [p.name for p in tmp_path.iterdir()] == ["status.json"]
        if len(made) < at:
            assert path.read_bytes() == b"new"
            return
    raise AssertionError("no write passed untouched")


def test_atomic_write_killed_at_any_call_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    for at in range(1, 50):
        path.write_bytes(b"old")
        killed = killed_at(at, lambda: atomic_write(path, "new"), torn=True)
        assert path.read_bytes() in (b"old", b"new")
        clean_stale(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["status.json"]
        if not killed:
            assert path.read_bytes() == b"new"
            return
    raise AssertionError("no write passed untouched")


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_modes_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save(tmp_path, 1)
        atomic_write(tmp_path / "status.json", "{}")
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_stale_temporary_folders_are_cleaned(tmp_path: Path) -> None:
    folder = save(tmp_path, 1).parent
    for name in (".tmp-step_00000002", "../.tmp-bundle", "../previews/.tmp-0123abcd-x", "../mine/.tmp-x"):
        (folder / name).mkdir(parents=True)
        (folder / name / "half").write_text("half")
    (tmp_path / ".tmp-12345678-status.json").write_text("{")
    (tmp_path / "mine.tmp").write_text("stays")
    cleaned = clean_stale(tmp_path)
    assert sorted(cleaned) == [".tmp-0123abcd-x", ".tmp-12345678-status.json", ".tmp-bundle", ".tmp-step_00000002"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "mine", "mine.tmp", "previews"]
    assert (tmp_path / "mine" / ".tmp-x" / "half").exists()


def test_no_write_permission_is_said_before_step_0(tmp_path: Path) -> None:
    check_writable(tmp_path / "runs" / "new")
    assert list((tmp_path / "runs" / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError) as caught:
        check_writable(tmp_path / "file" / "run")
    assert caught.value.exit_code == 5
    with failing(1, persistent=True), pytest.raises(ResourceError, match="cannot be written"):
        check_writable(tmp_path / "other")


def test_free_space_is_asked_of_the_nearest_existing_folder(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0
    require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(ResourceError, match="1,000,000,000,000,000,000 bytes are needed"):
        require_space(tmp_path, 10**18)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}}', "\xff", "[" * 100_000, "x" * 20])
def test_bad_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=r"bad\.json"):
        read_json(path, max_bytes=150_000 if len(text) > 20 else 19)


# ------------------------------------------------------------------------------------------------ TOML

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text().filter(lambda text: text != "none")
)
TABLES = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        SCALARS | st.lists(SCALARS, max_size=3) | st.lists(st.lists(SCALARS, max_size=2), max_size=2),
        lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@given(TABLES)
@settings(max_examples=100, deadline=None)
def test_toml_round_trip(tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    write_toml(path, data)
    assert read_toml(path) == data


def test_a_run_config_survives_toml_none_included(tmp_path: Path) -> None:
    config = RunConfig(process=ProcessConfig(steps=None))  # None is not the default
    write_toml(tmp_path / "config.toml", config.to_dict() | {"data": {"spec": 'C:\\a "b"\n', "size": None}})
    found = read_toml(tmp_path / "config.toml")
    assert found.pop("data") == {"spec": 'C:\\a "b"\n', "size": None}
    assert RunConfig.from_dict(found) == config


def test_toml_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    assert tomllib.loads(dump_toml({"a": float("inf"), "b": [1.5, 2]})) == {"a": float("inf"), "b": [1.5, 2]}
    with pytest.raises(TypeError, match="Path"):
        dump_toml({"a": tmp_path})


@pytest.mark.parametrize("raw", [b"a = ", b"\xff = 1", b"a = 1\na = 2", b"a = " + b"[" * 50_000])
def test_bad_toml_names_the_file(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(raw)
    with pytest.raises(BundleError, match=r"config\.toml"):
        read_toml(tmp_path / "config.toml")
    with pytest.raises(BundleError, match=r"absent\.toml"):
        read_toml(tmp_path / "absent.toml")


# ------------------------------------------------------------------------------------------------ status and metrics


def test_status_is_one_whole_object(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    write_status(tmp_path, "running", step=3, loss=float("nan"))
    write_status(tmp_path, "preempted", step=4, seconds=1.5, best=[float("inf"), 1])
    found = read_status(tmp_path)
    assert found is not None
    assert found.pop("host")
    assert found == {"status": "preempted", "pid": os.getpid(), "step": 4, "seconds": 1.5, "best": [None, 1]}


def log_steps(run: Path, first: int, last: int, resume: int | None) -> None:
    """What a loop logs at steps `first` to `last`: every step, and a held-out loss at even ones."""
    with MetricsLog(run, resume) as log:
        for step in range(first, last + 1):
            log.metrics(step, images=128 * step, loss=1 / step, grad_norm=float("nan") if step == 3 else 0.1 * step)
            log.timings(step, seconds=time.perf_counter())
            if step % 2 == 0:
                log.metrics(step, heldout=0.3 / step, heldout_q=[0.1, 0.2, 0.3, 0.4 / step])
        log.sync()


@pytest.mark.parametrize("half", [b"", b'{"step": 8, "lo', b'{"step": 8}', b"\x00" * 300, b"\xff\xfe\n", b"[8]\n"])
@pytest.mark.parametrize("checkpoint", [1, 4, 7])
def test_metrics_of_a_resumed_run_equal_those_of_an_uninterrupted_one(
    tmp_path: Path, checkpoint: int, half: bytes
) -> None:
    """Killed after step 7, perhaps in the middle of a line; gone on from the checkpoint; bitwise the same file."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    log_steps(whole, 1, 10, None)
    log_steps(cut, 1, 7, None)
    for name in ("metrics.jsonl", "timings.jsonl"):
        with (cut / name).open("ab") as file:
            file.write(half)
    assert [entry["step"] for entry in read_lines(cut / "timings.jsonl")] == list(range(1, 8))
    log_steps(cut, checkpoint + 1, 10, checkpoint)
    assert (cut / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert [entry["step"] for entry in read_lines(cut / "timings.jsonl")] == list(range(1, 11))
    assert all("seconds" not in entry for entry in read_lines(whole / "metrics.jsonl"))


def test_a_fresh_run_starts_an_empty_log(tmp_path: Path) -> None:
    log_steps(tmp_path, 1, 3, None)
    log_steps(tmp_path, 1, 1, None)
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert [entry["step"] for entry in lines] == [1]
    assert lines == [json.loads((tmp_path / "metrics.jsonl").read_text())]


def test_a_line_cut_by_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    with MetricsLog(tmp_path) as log:
        log.metrics(1, loss=0.5)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "metrics.jsonl").stat().st_size + 10, hard))
        try:
            log.metrics(2, loss=0.25)  # waits in memory
            with pytest.raises(ResourceError, match=r"metrics\.jsonl"):
                log.sync()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.sync()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'
