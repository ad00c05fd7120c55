"""Codecs on disk: from the values and tensors of a codec, in a bundle or in a run's folder, back to the codec."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.kinds import KINDS, kind_of
from gendi.errors import BundleError, UsageError
from gendi.storage.files import FolderWriter, encode_json, read_json, replace_folder, verify_manifest
from gendi.storage.safe_tensors import TensorSpec, read_tensors, tensor_bytes, tensor_chunks

CODEC, TENSORS = "codec.json", "codec.safetensors"


def codec_from_dict(data: object, tensors: Mapping[str, Tensor] | None = None) -> Codec:
    """Return the codec that `to_dict` and `tensors` described. Raises `BundleError` on anything else."""
    known = _codec_class(data)
    assert isinstance(data, Mapping)
    if missing := sorted(known.expected(data).keys() - (tensors or {}).keys()):
        raise BundleError(f"The codec of kind {known.kind!r} lacks the tensor {missing[0]!r}.")
    return known.from_parts(data, tensors or {})


def codec_tensor_specs(data: object) -> dict[str, TensorSpec]:
    """Return the shapes and types of the tensors of the codec that `to_dict` described. Raises `BundleError`."""
    known = _codec_class(data)
    assert isinstance(data, Mapping)
    return known.expected(data)


def read_codec_parts(data: object, tensors: Path) -> Codec:
    """Return the codec that `to_dict` described, its tensors in the file `tensors` if it has any.

    Raises `BundleError` naming the field, or the file and the tensor, that is bad.
    """
    wanted = codec_tensor_specs(data)
    return codec_from_dict(data, read_tensors(tensors, wanted) if wanted else {})


def write_codec_tensors(writer: FolderWriter, codec: Codec) -> None:
    """Write the tensors of a codec into a folder that is being written; no file if it has none. Raises
    `ResourceError`.
    """
    if tensors := codec.tensors():
        writer.write(TENSORS, tensor_chunks(tensors))


def write_codec(folder: Path, codec: Codec) -> None:
    """Write a codec into a folder of its own, whole or not at all. Raises `ResourceError`."""
    text = encode_json(codec.to_dict())
    with replace_folder(folder, tensor_bytes(codec.tensors()) + 2 * len(text) + 4096) as writer:
        writer.write_text(CODEC, text)
        write_codec_tensors(writer, codec)


def read_codec(folder: Path) -> Codec:
    """Read what `write_codec` wrote. Raises `BundleError` naming the file, and the field or tensor, that is bad."""
    verify_manifest(folder)
    try:
        return read_codec_parts(read_json(folder / CODEC), folder / TENSORS)
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from None


def _codec_class(data: object) -> type[Codec]:
    """Return the class of a described codec."""
    if not isinstance(data, Mapping):
        raise BundleError(f"A codec is a table of fields, not {type(data).__name__}.")
    kind = data.get("kind")
    try:
        return kind_of(kind).codecs()[kind] if isinstance(kind, str) else _unknown(kind)
    except (KeyError, UsageError):
        return _unknown(kind)


def _unknown(kind: object) -> type[Codec]:
    known = ", ".join(f"{KINDS[name].title} ({name!r})" for name in KINDS.at_hand())
    raise BundleError(
        f"There is no codec of kind {kind!r}; this version of gendi knows {known}. The bundle may come from a newer "
        "version, or need a package that brings this kind of data."
    )
