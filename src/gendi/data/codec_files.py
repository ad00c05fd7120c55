"""Writing codecs to a bundle or to the folder of a run, and reading them back."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.kinds import KINDS, kind_of
from gendi.errors import BundleError, UsageError
from gendi.storage.files import encode_json, read_json, verify_manifest
from gendi.storage.folders import FolderWriter, replace_folder
from gendi.storage.safe_tensors import TensorSpec, read_tensors, tensor_bytes, tensor_chunks

CODEC, TENSORS = "codec.json", "codec.safetensors"


def codec_from_dict(data: object, tensors: Mapping[str, Tensor] | None = None) -> Codec:
    """Return the codec that `to_dict` and `tensors` describe. Raises `BundleError` if they describe none."""
    known = _codec_class(data)
    assert isinstance(data, Mapping)
    if missing := sorted(known.expected(data).keys() - (tensors or {}).keys()):
        raise BundleError(f"The codec of kind {known.kind!r} lacks the tensor {missing[0]!r}.")
    return known.from_parts(data, tensors or {})


def codec_tensor_specs(data: object) -> dict[str, TensorSpec]:
    """Return the shapes and types of the tensors of the codec that `to_dict` describes. Raises `BundleError`."""
    known = _codec_class(data)
    assert isinstance(data, Mapping)
    return known.expected(data)


def read_codec_parts(data: object, tensors: Path) -> Codec:
    """Return the codec that `to_dict` describes; if it has tensors, they are read from the file `tensors`.

    Raises `BundleError` naming the bad field, or the file and the bad tensor.
    """
    wanted = codec_tensor_specs(data)
    return codec_from_dict(data, read_tensors(tensors, wanted) if wanted else {})


def write_codec_tensors(writer: FolderWriter, codec: Codec) -> None:
    """Write the tensors of a codec, if it has any, into a folder that is being written. Raises `ResourceError`."""
    if tensors := codec.tensors():
        writer.write(TENSORS, tensor_chunks(tensors))


def write_codec(folder: Path, codec: Codec) -> None:
    """Write a codec into a folder of its own; a failure leaves no partial folder. Raises `ResourceError`."""
    text = encode_json(codec.to_dict())
    with replace_folder(folder, tensor_bytes(codec.tensors()) + 2 * len(text) + 4096) as writer:
        writer.write_text(CODEC, text)
        write_codec_tensors(writer, codec)


def read_codec(folder: Path) -> Codec:
    """Read what `write_codec` wrote. Raises `BundleError` naming the file, and the bad field or tensor."""
    verify_manifest(folder)
    try:
        return read_codec_parts(read_json(folder / CODEC), folder / TENSORS)
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from None


def _codec_class(data: object) -> type[Codec]:
    """Return the class of the codec that `to_dict` describes. Raises `BundleError`."""
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
