"""Files that claim to be safetensors: nothing in them runs, and none costs more memory than its header."""

import io
import json
import math
import pickle
import resource
from pathlib import Path

import pytest
import safetensors.torch
import torch
from faulty import assert_tensors, groups
from hypothesis import given, settings
from hypothesis import strategies as st

from gendi.errors import BundleError
from gendi.storage.files import write_file
from gendi.storage.safe_tensors import MAX_HEADER, check_tensors, read_header, read_tensors, tensor_bytes, tensor_chunks
from gendi.train.kept.checkpoint import match_layout

F32 = torch.float32


def raw_file(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(shape: list[object], end: object, dtype: object = "F32", start: object = 0) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_the_safetensors_library_reads_what_is_written(tmp_path: Path) -> None:
    """The independent opinion: the format's own library sees the same names, dtypes, shapes and values."""
    for name, group in groups(3).items():
        digest = write_file(tmp_path / name, tensor_chunks(group))
        assert digest.size <= tensor_bytes(group)
        assert_tensors({name: safetensors.torch.load_file(tmp_path / name)}, {name: group})
        assert_tensors({name: read_tensors(tmp_path / name)}, {name: group})
        assert read_header(tmp_path / name) == {k: (tuple(t.shape), t.dtype) for k, t in group.items()}


@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name != "__metadata__" and name.isprintable()),
        st.tuples(
            st.sampled_from(
                [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
            ),
            st.lists(st.integers(0, 3), max_size=4),
        ),
        max_size=5,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_tensors_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, kinds: dict[str, tuple[torch.dtype, list[int]]]
) -> None:
    tensors = {}
    for index, (name, (dtype, shape)) in enumerate(kinds.items()):
        values = (torch.arange(math.prod(shape)) * 37 + index).remainder(101)
        tensor = values.to(dtype).reshape(shape)
        tensors[name] = tensor.mT if len(shape) >= 2 else tensor  # not contiguous
    path = tmp_path_factory.mktemp("tensors") / "any.safetensors"
    write_file(path, tensor_chunks(tensors))
    assert_tensors({"": read_tensors(path)}, {"": tensors})


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    tensors = {"b": torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), "a": torch.arange(5)}
    safetensors.torch.save_file(tensors, tmp_path / "f", metadata={"format": "pt"})
    assert_tensors({"": read_tensors(tmp_path / "f")}, {"": tensors})


class Payload:
    """Unpickled, it would leave a file behind."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.proof,))


@pytest.mark.parametrize("kind", ["pickle", "torch-zip", "old-torch"])
def test_malicious_pickle_given_as_weights(tmp_path: Path, kind: str) -> None:
    proof, path = tmp_path / "executed", tmp_path / "model.safetensors"
    buffer = io.BytesIO()
    if kind == "pickle":
        pickle.dump(Payload(proof), buffer)
    else:
        torch.save({"w": Payload(proof)}, buffer, _use_new_zipfile_serialization=kind == "torch-zip")
    path.write_bytes(buffer.getvalue())
    with pytest.raises(BundleError, match="is a pickle") as caught:
        read_tensors(path)
    assert caught.value.exit_code == 4
    assert not proof.exists()


@pytest.mark.parametrize("length", [MAX_HEADER + 1, 2**33, 2**63, 2**64 - 1])
def test_safetensors_with_a_huge_header_costs_no_memory(tmp_path: Path, length: int) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(min(length + 8, 2**34))  # sparse, so that the length itself is true where a file can be so long
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match=r"header"):
        read_tensors(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB, where 8 GB were announced


def test_safetensors_announcing_a_huge_tensor_costs_no_memory(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "f", {"w": entry([10**12], 4 * 10**12)}, b"\0" * 4)
    with pytest.raises(BundleError, match="truncated"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("header", "data", "named"),
    [
        (b"", b"", "not valid JSON"),
        (b"\xff\xfe", b"", "not valid JSON"),
        (b"[" * 50_000, b"", "not valid JSON"),
        ([], b"", "not a table"),
        ({"w": 1}, b"", "'w'"),
        ({"w": {"dtype": "F32"}}, b"", "'w'"),
        ({"w": entry([1], 4) | {"code": "x"}}, b"\0" * 4, "'w'"),
        ({"w": entry([1], 4, "F31")}, b"\0" * 4, "'w' has dtype 'F31'"),
        ({"w": entry([1], 4, ["F32"])}, b"\0" * 4, "'w' has dtype"),
        ({"w": entry([-1], -4)}, b"", "'w'"),
        ({"w": entry([True], 4)}, b"\0" * 4, "'w'"),
        ({"w": entry([1.0], 4)}, b"\0" * 4, "'w'"),
        ({"w": entry([2**62, 4], 0)}, b"", "'w' has shape"),
        ({"w": entry([2], 4)}, b"\0" * 4, "'w' has shape"),
        ({"w": entry([1], 8, start=4)}, b"\0" * 8, "'w' does not begin"),
        ({"v": entry([1], 4), "w": entry([1], 4)}, b"\0" * 4, "does not begin"),
        ({"w": entry([1], 4)}, b"\0" * 5, "where its header says 4"),
        ({"w": entry([1], 4)}, b"\0" * 3, "where its header says 4"),
    ],
)
def test_malformed_headers_name_what_is_wrong(tmp_path: Path, header: object, data: bytes, named: str) -> None:
    path = raw_file(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(BundleError, match=r"bad\.safetensors") as caught:
        read_tensors(path)
    assert named in str(caught.value)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_are_refused_or_read(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.safetensors"
    path.write_bytes(raw)
    try:
        found = read_tensors(path)
    except BundleError:
        return
    assert sum(t.nbytes for t in found.values()) <= len(raw)


@pytest.mark.parametrize(
    ("expected", "named"),
    [
        ({"w": ((2, 3), F32), "b": ((3,), F32)}, "tensor 'b' is missing"),
        ({}, "tensor 'w' is unexpected"),
        ({"w": ((3, 2), F32)}, "tensor 'w' has shape (2, 3)"),
        ({"w": ((2, 3), torch.float16)}, "tensor 'w' is torch.float32"),
    ],
)
def test_wrong_shape_dtype_missing_or_unexpected_tensor(tmp_path: Path, expected: dict, named: str) -> None:
    path = tmp_path / "f"
    write_file(path, tensor_chunks({"w": torch.zeros(2, 3)}))
    check_tensors(path, {"w": ((2, 3), F32)})
    with pytest.raises(BundleError) as caught:
        check_tensors(path, expected)
    assert named in str(caught.value)
    with pytest.raises(BundleError):
        read_tensors(path, expected)


def test_layouts_are_matched_for_the_fused_optimiser() -> None:
    """AdamW steps alike after a reload and without, on a channels-last parameter (its moments are reloaded flat)."""

    def train(reload: bool) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        draw = torch.randn(2, 4, 3, 5, 5, generator=generator)
        parameter = torch.nn.Parameter(draw[0].to(memory_format=torch.channels_last))
        optimiser = torch.optim.AdamW([parameter], lr=0.1, fused=True)
        gradient = draw[1].to(memory_format=torch.channels_last)
        parameter.grad = gradient
        optimiser.step()
        if reload:
            for moments in optimiser.state.values():
                for name in ("exp_avg", "exp_avg_sq"):
                    moments[name] = match_layout(moments[name].contiguous(), parameter)
                    assert moments[name].stride() == parameter.stride()
        parameter.grad = gradient * gradient.sign() ** 2 * 2
        optimiser.step()
        return parameter.detach()

    assert torch.equal(train(reload=False), train(reload=True))
