r"""Paths whose bytes are no UTF-8, and terminals that are ascii or latin-1: nothing dies of printing.

What cannot be printed is escaped (é as \xe9, a byte 255 of a path as \udcff), every file is found again, and files of
text are UTF-8. Each environment is a real process, which goes the whole way.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendi.storage.files import encode_json
from gendi.storage.plain import in_utf8, is_unicode
from gendi.storage.safe_tensors import read_tensors, tensor_chunks
from gendi.storage.toml import read_toml

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names of any bytes")

FLAGS = (
    *("--network.channels", "8", "16", "--network.groups", "4", "--network.time-dim", "16", "--condition", "class"),
    *("--train.precision", "fp32", "--train.layout", "contiguous", "--batch-size", "4"),
)
DRIVER = """\
import json, os, sys, traceback
from gendi.cli import main
os.chdir(sys.argv[1])
data, run, out = (os.fsdecode(name) for name in (b"d\\xff\\xc3\\xa9", b"r\\xff\\xc3\\xa9", b"o\\xff"))
flags, short = json.loads(sys.argv[2]), ["--n", "4", "--steps", "2", "--sampler", "ddim"]
commands = [
    ["data", "check", data],
    ["train", data, *flags, "--steps", "2", "--out", run],
    ["train", data, *flags, "--steps", "3", "--out", run],
    ["sample", run, *short, "--out", out + ".png"],
    ["sample", run, *short, "--out", out + ".npz", "--json"],
    ["sample", run, *short, "--out", out],
    ["sample", run, *short, "--class", os.fsdecode(b"\\xc3\\xa9"), "--out", out + "e.png"],
    ["sample", "--again", out + ".png", "--out", out + "-again.png"],
    ["evaluate", run, *short],
    ["evaluate", "--samples", out + ".npz", "--data", data, "--out", out + ".json", "--json"],
    ["likelihood", run, "--n", "1"],
    ["info", run],
    ["info", run, "--json"],
    ["verify", run],
    ["runs", "."],
    ["runs", ".", "--json"],
    ["report", run],
    ["train", data, "--from", run, "--steps", "1", "--batch-size", "4", "--out", run + "2"],
    ["report", out],
    ["train", "nowhere" + data],
]
codes = []
for command in commands:
    print("--", command[0], file=sys.stderr, flush=True)
    codes.append((command[0], main(command)))
with open("codes.json", "w") as file:
    json.dump(codes, file)
"""
ENVIRONMENTS = {
    "utf-8": {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"},
    "ascii terminal": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
    "latin-1 terminal": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"},
    "C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def make_pictures(folder: Path) -> None:
    """Write a folder of two classes, é and a name that is no UTF-8."""
    rng = np.random.default_rng(0)
    for name in (b"a\xff", "é".encode()):
        place = folder / os.fsdecode(b"d\xff\xc3\xa9") / os.fsdecode(name)
        place.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(place / f"{i}.png")


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
def test_paths_that_are_no_utf8_and_terminals_that_are_ascii(tmp_path: Path, environment: dict[str, str]) -> None:
    make_pictures(tmp_path)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONUTF8", "PYTHONIO", "GENDI"))}
    env |= environment | {"GENDI_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", DRIVER, str(tmp_path), json.dumps(FLAGS)]
    ended = subprocess.run(command, env=env, capture_output=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    codes = json.loads((tmp_path / "codes.json").read_text())
    assert [code for _, code in codes] == [0] * (len(codes) - 2) + [2, 3], (codes, ended.stderr[-3000:])
    assert b"Traceback" not in ended.stderr and b"bug in gendi" not in ended.stderr
    run = tmp_path / os.fsdecode(b"r\xff\xc3\xa9")
    for name in ("train.log", "report.html", "config.toml", "status.json", "metrics.jsonl"):
        (run / name).read_bytes().decode()  # UTF-8, whatever the terminal and the paths
    assert read_toml(run / "config.toml")["data"]["spec"] == os.fsdecode(b"d\xff\xc3\xa9")
    encoding = environment.get("PYTHONIOENCODING", "ascii" if environment["LC_ALL"] == "C" else "utf-8")
    for text in (ended.stdout, ended.stderr):
        text.decode(encoding)
    assert b"\\udcff" in ended.stderr


def test_json_keeps_paths_that_are_no_utf8() -> None:
    path = os.fsdecode(b"p\xff\xc3\xa9/x")
    assert not is_unicode(path) and is_unicode("é")
    assert json.loads(encode_json({"path": path})) == {"path": path}
    assert json.loads(in_utf8(json.dumps({"path": path}, ensure_ascii=False))) == {"path": path}
    assert encode_json({"path": "é"}) == '{\n "path": "é"\n}\n'


def test_tensors_are_read_where_the_path_is_no_utf8(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensors = {"a": torch.randn(3, 2), "b": torch.arange(4)}
    raw = b"".join(bytes(chunk) for chunk in tensor_chunks(tensors))
    for name in (b"plain", b"p\xff"):
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(raw)
        found = read_tensors(path)
        assert found.keys() == tensors.keys() and all(torch.equal(found[key], tensors[key]) for key in tensors)
