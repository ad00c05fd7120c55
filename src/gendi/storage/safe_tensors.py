"""Named tensors in a file: standard safetensors, written durably and read without trust.

A safetensors file consists of the length of its header (8 bytes, little-endian), the header (JSON: dtype, shape and
offsets of each tensor), and the tensors' bytes without a gap. It is written chunk by chunk, so that the bytes can be
hashed on their way, a full disk is an `OSError`, and the mode follows the umask. Before a file is read, its header is
checked against its size and against the tensors that the reader expects. So a hostile file costs no more memory than
its header, whose length is at most `MAX_HEADER`.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor, nn

from gendi.errors import BundleError
from gendi.storage.disk import reason
from gendi.storage.files import parse_json
from gendi.storage.plain import is_unicode

MAX_HEADER = 16 * 2**20
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
PICKLES = (b"\x80", b"PK\x03\x04")  # a pickle of protocol 2 or later, and the zip that torch.save writes

TensorSpec = tuple[tuple[int, ...], torch.dtype]
"""The shape and the dtype of a tensor, which a file's header must confirm before the tensor is read."""


def tensor_chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a safetensors file of `tensors`, one chunk per tensor; equal tensors give equal bytes."""
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # wide types first: all are aligned
    header, offset = {}, 0
    for name in order:
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        if tensors[name].numel():
            flat = tensors[name].detach().to("cpu").contiguous().reshape(-1)
            yield flat.view(torch.uint8).numpy().data


def tensor_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return about how many bytes `tensor_chunks` yields: those of the tensors, and some for the header."""
    return sum(t.numel() * t.element_size() + 200 + len(name) for name, t in tensors.items()) + 8


def specs(tensors: nn.Module | Mapping[str, Tensor]) -> dict[str, TensorSpec]:
    """Return the shapes and dtypes of named tensors, or of a module's state (which may be on the meta device)."""
    state = tensors.state_dict() if isinstance(tensors, nn.Module) else tensors
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}


def read_header(path: Path) -> dict[str, TensorSpec]:
    """Return the shape and dtype of every tensor in a file, from its header alone.

    Raises `BundleError`, with the name of the file and of the tensor at fault, if the file is a pickle or is truncated,
    or if its header is too large, is not JSON, or does not account for every byte.
    """
    try:
        with path.open("rb") as file:
            total, start = os.fstat(file.fileno()).st_size, file.read(8)
            length = int.from_bytes(start, "little")
            if start.startswith(PICKLES) and length > total:
                raise BundleError(
                    f"{path} is a pickle (a PyTorch .pt file), not safetensors. It was not read, because a pickle can "
                    "run any code when it is read. Ask its author for a safetensors file."
                )
            if len(start) < 8 or length > total - 8:
                raise BundleError(
                    f"{path} has {total} bytes, fewer than its header announces: it is truncated or not safetensors."
                )
            if length > MAX_HEADER:
                raise BundleError(f"{path} has a header of {length} bytes; more than {MAX_HEADER} is not read.")
            raw = file.read(length)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {reason(error)}.") from None
    header = parse_json(raw.decode(errors="replace"), path)
    if not isinstance(header, dict):
        raise BundleError(f"{path} has a header that is not a table: it is damaged or not a safetensors file.")
    header.pop("__metadata__", None)
    found: dict[str, TensorSpec] = {}
    spans = []
    for name, entry in header.items():
        dtype, shape, span = _entry(path, name, entry)
        found[name] = (shape, dtype)
        spans.append((*span, name))
    end = 0
    for first, last, name in sorted(spans):
        if first != end:
            raise BundleError(
                f"{path}: tensor {name!r} does not begin where the one before it ends. The file is damaged."
            )
        end = last
    if end != total - 8 - length:
        raise BundleError(f"{path} holds {total - 8 - length} bytes of tensors where its header says {end}: truncated?")
    return found


def _entry(path: Path, name: str, entry: object) -> tuple[torch.dtype, tuple[int, ...], tuple[int, int]]:
    bad = f"{path}: tensor {name!r} has a malformed header entry. The file is damaged or not a safetensors file."
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise BundleError(bad)
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(shape, list) and isinstance(span, list) and len(span) == 2 and len(shape) <= 64):
        raise BundleError(bad)
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, *span)):
        raise BundleError(bad)
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise BundleError(f"{path}: tensor {name!r} has dtype {dtype!r}. Known: {', '.join(DTYPES)}.")
    if math.prod(shape) * DTYPES[dtype].itemsize != span[1] - span[0]:
        raise BundleError(f"{path}: tensor {name!r} has shape {shape} but {span[1] - span[0]} bytes. It is damaged.")
    return DTYPES[dtype], tuple(shape), (span[0], span[1])


def check_tensors(path: Path, expected: Mapping[str, TensorSpec]) -> None:
    """Check, from the header alone, that a file holds exactly the tensors in `expected`.

    Raises `BundleError` with the name of the first tensor that is missing, unexpected, or of another shape or dtype,
    and as `read_header` does.
    """
    compare_specs(str(path), read_header(path), expected)


def compare_specs(where: str, found: Mapping[str, TensorSpec], expected: Mapping[str, TensorSpec]) -> None:
    """Raise `BundleError` with the name of the first tensor that is missing, unexpected, or of another shape or dtype.

    `where` says in the message where the tensors were found.
    """
    for name, (shape, dtype) in expected.items():
        if name not in found:
            raise BundleError(f"{where}: tensor {name!r} is missing; the network here has it.")
        if found[name][0] != shape:
            raise BundleError(f"{where}: tensor {name!r} has shape {found[name][0]}; the network here has {shape}.")
        if found[name][1] != dtype:
            raise BundleError(f"{where}: tensor {name!r} is {found[name][1]}; the network here has {dtype}.")
    if extra := sorted(found.keys() - expected.keys()):
        raise BundleError(f"{where}: tensor {extra[0]!r} is unexpected; the network here lacks it.")


def read_tensors(path: Path, expected: Mapping[str, TensorSpec] | None = None) -> dict[str, Tensor]:
    """Return copies of the tensors of a file, on the CPU, after `check_tensors` if `expected` is given.

    Raises `BundleError` as `read_header` and `check_tensors` do.
    """
    if expected is None:
        read_header(path)
    else:
        check_tensors(path, expected)
    try:
        if not is_unicode(str(path)):  # the library takes no such path
            return {name: tensor.clone() for name, tensor in load(path.read_bytes()).items()}
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} cannot be read as safetensors: {error}. The file is damaged.") from None
