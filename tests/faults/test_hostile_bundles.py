"""Folders made to mislead: names that lead elsewhere, links, pipes, text that moves the cursor."""

import json
import os
import signal
from pathlib import Path
from types import FrameType

import pytest
from victims import flip

from gendi.cli import main
from gendi.errors import BundleError
from gendi.storage.files import MANIFEST, Digest, encode_json, sha256_file, write_file, write_manifest
from gendi.train.kept.bundle import load_bundle

SECRET = b"-----BEGIN PRIVATE KEY-----"


def honest(folder: Path, **extra: Digest) -> None:
    """Write a manifest that fits the folder, and lists `extra` as well."""
    (folder / MANIFEST).unlink(missing_ok=True)
    write_manifest(folder)
    files = json.loads((folder / MANIFEST).read_text())["files"]
    files |= {name: {"sha256": d.sha256, "size": d.size} for name, d in extra.items()}
    (folder / MANIFEST).unlink()
    write_file(folder / MANIFEST, [encode_json({"files": files}).encode()])


@pytest.mark.parametrize(
    "form", ["../secret", "{absolute}", "sub/../../secret", "./secret", "secret\0", "../run/bundle"]
)
def test_path_tricks_in_a_manifest(run: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is listed and not found below the folder is missing, whatever lies where it leads."""
    secret = run / "secret"
    secret.write_bytes(SECRET)
    name = form.format(absolute=secret)
    honest(run / "bundle", **{name: Digest(len(SECRET), sha256_file(secret))})
    opened: list[str] = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: (opened.append(self.name), real(self, *a, **k))[1])
    with pytest.raises(BundleError, match="is missing, though"):
        load_bundle(run)
    assert "secret" not in opened


def test_links_and_pipes(run: Path) -> None:
    bundle = run / "bundle"
    weights, blob = bundle / "model.safetensors", run / "blob"
    weights.rename(blob)
    weights.symlink_to(blob)  # as caches of downloaded models have it
    load_bundle(run)
    flip(blob, 80_000)
    with pytest.raises(BundleError, match=r"model\.safetensors is damaged"):
        load_bundle(run)
    for target in ("/dev/zero", "/dev/null", str(run / "absent"), str(weights)):  # the last one leads to itself
        weights.unlink()
        weights.symlink_to(target)
        with pytest.raises(BundleError, match=r"model\.safetensors"):
            load_bundle(run)
    weights.unlink()
    os.mkfifo(weights)
    in_time(lambda: load_bundle(run), r"not a plain file")
    weights.unlink()
    blob.rename(weights)
    (bundle / MANIFEST).unlink()
    os.mkfifo(bundle / MANIFEST)
    in_time(lambda: load_bundle(run), r"MANIFEST\.json is missing")


def in_time(work: object, said: str) -> None:
    """A pipe without a writer would be waited for without end."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        with pytest.raises(BundleError, match=said):
            work()  # type: ignore[operator]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_link_to_a_folder_is_not_followed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "big").write_bytes(b"x")
    (run / "bundle" / "sub").symlink_to(tmp_path / "elsewhere")
    load_bundle(run)  # it holds nothing that is listed, and is not looked into
    (run / "loop").symlink_to(run)
    assert main(["verify", str(run)]) == 0


def test_text_from_a_file_moves_no_cursor(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "bundle" / "config.json"
    data = json.loads(path.read_text()) | {"format": 9, "gendi": "\x1b[2J\x1b]0;owned\x07 9"}
    path.write_text(json.dumps(data))
    honest(run / "bundle")
    assert main(["info", str(run / "bundle")]) == 4
    said = capsys.readouterr().err
    assert said.rstrip("\n").isprintable() and "owned" in said
