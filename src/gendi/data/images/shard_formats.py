"""Finds the samples in a shard by one pass over it. A shard is a tar file (WebDataset) or a parquet file.

    a/0001.jpg  a/0001.cls  a/0001.json        one sample, by the path up to the first dot of the name: the key
    image: {bytes, path} or bytes, label, ...  one sample, a row; images as Hugging Face's `datasets` writes them

A sample in a tar file is found again by the place and the size of its picture, and one in a parquet file by its row
group and row.
"""

import json
import math
import tarfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from gendi.data.images.pixels import SUFFIXES, BadImageError, read_size
from gendi.data.images.shard_files import Shards, reaching
from gendi.errors import DataError, UsageError

_BLOCK = 512
_IMAGE_NAMES = ("image", "img", "picture", "jpg", "jpeg", "png", "webp")


class Sample(NamedTuple):
    """Where a picture is: the part of its shard (a row group; 0 in a tar), the byte or row, and its size in bytes."""

    part: int
    place: int
    size: int


Header = tuple[int, int, bool] | BadImageError
"""(height, width, grey) of a picture, or the reason why it is none."""


@dataclass
class Contents:
    """The samples of a shard, the values of their conditions, and what was passed over."""

    samples: list[Sample] = field(default_factory=list)
    values: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    grey: bool = True
    bad: list[tuple[str, str]] = field(default_factory=list)
    parts: int = 1
    columns: tuple[str, ...] = ()
    """In parquet, the name and type of each column."""
    class_names: dict[str, list[str]] = field(default_factory=dict)
    others: int = 0
    """The number of members that are neither a picture nor describe one."""

    def add(self, name: str, sample: Sample, header: Header, values: dict[str, Any]) -> None:
        """Add a sample, or a note that its picture cannot be read."""
        if isinstance(header, BadImageError):
            self.bad.append((name, str(header)))
            return
        height, width, grey = header
        self.samples.append(sample)
        self.values.append(values)
        self.sizes.append((height, width))
        self.grey = self.grey and grey


def scan(shards: Shards, shard: int) -> Contents:
    """Return what a shard holds. Raises `DataError` naming a shard or a member that is damaged."""
    path = shards.paths[shard]
    with reaching(path), shards.system.open(path, "rb") as file:
        return _scan_tar(path, file) if shards.suffix == ".tar" else _scan_parquet(path, file)


def read_part(shards: Shards, shard: int, part: int) -> Any:
    """Return the images of a row group of a parquet file, as an Arrow array."""
    path = shards.paths[shard]
    with reaching(path), shards.system.open(path, "rb") as file:
        parquet = _parquet()(file)
        column = _image_column(path, parquet.schema_arrow)
        return _image_bytes(parquet.read_row_group(part, columns=[column]).column(column))


def _scan_tar(path: str, file: Any) -> Contents:
    found, here = Contents(), _Members(path)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them in memory
                here.add(member, tar, found)
            file.seek(tar.offset)
            ended = file.read(_BLOCK) == bytes(_BLOCK)
    except tarfile.TarError as error:
        raise DataError(f"{path} is no tar file, or is truncated: {error}. Fetch or write it again.") from error
    if not ended:
        raise DataError(f"{path} is truncated or damaged at byte {tar.offset:,}. Fetch or write it again.")
    for key, (name, sample, header) in here.pictures.items():
        found.add(name, sample, header, here.values.get(key, {}))
    found.others += len(here.values.keys() - here.pictures.keys())
    return found


class _Members:
    """Puts the members of a tar together into samples."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.pictures: dict[str, tuple[str, Sample, Header]] = {}
        self.values: dict[str, dict[str, Any]] = {}
        self.seen: set[str] = set()

    def add(self, member: tarfile.TarInfo, tar: tarfile.TarFile, found: Contents) -> None:
        name = PurePosixPath(member.name).name
        if not member.isfile() or name.startswith((".", "__")):
            return
        stem, _, ending = name.partition(".")
        key = str(PurePosixPath(member.name).with_name(stem)) if stem else member.name
        ending = ending.lower()
        picture = f".{ending}" in SUFFIXES
        if not picture and ending not in ("cls", "json"):
            found.others += 1
            return
        slot = key if picture else f"{key}.{ending}"
        if slot in self.seen:
            what = "picture" if picture else f".{ending}"
            raise DataError(f"{self.path} has two of the key {key!r}: a second {what}. Keys must differ in a shard.")
        self.seen.add(slot)
        stream = tar.extractfile(member)
        content = b"" if stream is None else stream.read()
        if picture:
            self.pictures[key] = member.name, Sample(0, member.offset_data, member.size), _header_of(content)
        else:
            self.values.setdefault(key, {}).update(_values(f"{member.name} of {self.path}", ending, content))


def _header_of(picture: bytes) -> Header:
    try:
        return read_size(picture)
    except BadImageError as error:
        return error


def _values(where: str, ending: str, content: bytes) -> dict[str, Any]:
    try:
        text = content.decode("utf-8")
        data = {"class": text.strip()} if ending == "cls" else json.loads(text)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"{where} is no {'text' if ending == 'cls' else 'JSON'} in UTF-8: {error}. Mend it.") from error
    if not isinstance(data, dict):
        raise DataError(f'{where} must hold a JSON object, such as {{"class": "cat"}}; it holds {text[:50]!r}.')
    return data


def _scan_parquet(path: str, file: Any) -> Contents:
    import pyarrow

    try:
        parquet = _parquet()(file)
        return _scan_groups(path, parquet)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is no parquet file, or is damaged: {error}. Fetch or write it again.") from error


def _scan_groups(path: str, parquet: Any) -> Contents:
    schema = parquet.schema_arrow
    image = _image_column(path, schema)
    found = Contents(
        parts=parquet.num_row_groups,
        columns=tuple(f"{column.name}: {column.type}" for column in schema),
        class_names=_class_names(schema),
    )
    for group in range(parquet.num_row_groups):
        table = parquet.read_row_group(group)
        values = table.drop_columns([image]).to_pylist() if table.num_columns > 1 else [{}] * table.num_rows
        for row, picture in enumerate(_image_bytes(table.column(image))):
            content = picture.as_py() or b""
            found.add(
                f"row {row} of row group {group}", Sample(group, row, len(content)), _header_of(content), values[row]
            )
    return found


def _parquet() -> Any:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UsageError('parquet shards need pyarrow: pip install "gendi[data]"') from None
    return ParquetFile


def _image_column(path: str, schema: Any) -> str:
    from pyarrow import types

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    names = [column.name for column in schema if holds_bytes(column.type)]
    chosen = names if len(names) == 1 else [name for name in _IMAGE_NAMES if name in names][:1]
    if not chosen:
        raise DataError(
            f"{path} has {'no column' if not names else 'several columns'} of images (bytes, or a struct with bytes): "
            f"it has {', '.join(schema.names)}. Call one of bytes `image`."
        )
    return str(chosen[0])


def _image_bytes(column: Any) -> Any:
    from pyarrow import compute, types

    return compute.struct_field(column, "bytes") if types.is_struct(column.type) else column


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of the classes of each column for which Hugging Face's `datasets` has stored them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        known = {name: kind["names"] for name, kind in features.items() if kind.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
    return {str(name): [str(word) for word in words] for name, words in known.items()}


def cell_of(value: Any) -> tuple[str, str | None]:
    """Return a value of JSON or parquet as a cell of a table, and its kind if the text alone does not show it.

    Raises `ValueError` for a value that cannot be such a cell.
    """
    match value:
        case None:
            return "", None
        case str():
            return value.strip(), None
        case bool() | int():
            return str(value), None
        case float():
            return "" if math.isnan(value) else repr(value), None
        case list() if all(isinstance(part, str) for part in value):
            return "|".join(value) or "|", "tags"
        case list() if all(isinstance(part, int | float) for part in value):
            return " ".join(repr(float(part)) for part in value), "vector"
    raise ValueError(f"it holds {type(value).__name__}")
