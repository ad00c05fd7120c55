"""A fitted model of perturbations on disk: names, numbers, arrays and a manifest of the files, and never a pickle.

FOLDER/config.json          the model, as a tree of plain values and of named arrays
FOLDER/model.safetensors    the arrays
FOLDER/README.md            a card for people
FOLDER/MANIFEST.json        size and SHA-256 of each file, checked when the model is read

Objects are of a closed list of classes, those of `gendi.data.cells.perturbation`. The counts of control cells are kept,
because predictions are made of them; those of treated cells are not.
"""

import dataclasses
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gendi.api.perturbation.model import Perturbation
from gendi.data.cells import perturbation as home
from gendi.data.cells.marginals import Marginals
from gendi.data.cells.perturbation.baselines import ShiftModel
from gendi.errors import BundleError, UsageError
from gendi.machine.version import __version__
from gendi.storage.files import MANIFEST, encode_json, read_json, verify_manifest
from gendi.storage.folders import current_folder, replace_folder
from gendi.storage.safe_tensors import DTYPES, read_tensors, tensor_bytes, tensor_chunks
from gendi.train.kept.folders import BUNDLE, CONFIG, WEIGHTS

FORMAT, KIND = 1, "perturbation"
CARD = "README.md"
FIELDS = ("format", "kind", "gendi", "arrays", "model")
_SHARED = "train"
"""The field of a model that is the experiment itself, which is stored once."""


def save(model: Perturbation, folder: str | Path) -> Path:
    """Write a model to a folder and return it. A model that is there already is replaced at once.

    Raises:
        UsageError: the folder holds something else, or the model has a network (`diffusion=True`), which is not stored.
        ResourceError: the disk is full or refuses.
    """
    folder = Path(folder)
    if model.diffusion is not None:
        raise UsageError("The network of diffusion=True is not stored yet: fit the model without it, and save that.")
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not _is_ours(folder))):
        raise UsageError(f"{folder} holds something else than a model of perturbations. Choose another folder.")
    experiment = model.experiment
    kept = dataclasses.replace(experiment, counts=experiment.counts * experiment.control[:, None])
    arrays: dict[str, Tensor] = {}
    parts = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name != "diffusion"}
    tree = {name: _encoded(kept if value is experiment else value, name, arrays) for name, value in parts.items()}
    names = {str(dtype).removeprefix("torch."): name for name, dtype in DTYPES.items()}
    shapes = {k: [list(t.shape), names[str(t.dtype).removeprefix("torch.")]] for k, t in arrays.items()}
    text = encode_json({"format": FORMAT, "kind": KIND, "gendi": __version__, "arrays": shapes, "model": tree})
    with replace_folder(folder, tensor_bytes(arrays) + 4 * len(text) + 8192) as writer:
        writer.write(WEIGHTS, tensor_chunks(arrays))
        writer.write_text(CARD, _card(model))
        writer.write_text(CONFIG, text)
    return folder


def load(folder: str | Path) -> Perturbation:
    """Read a model that `save` wrote, or that is in the folder `bundle` of a folder, after checking every byte.

    Raises:
        UsageError: there is no model of perturbations.
        BundleError: a file, which is named, is missing, damaged or edited, or holds what no model has.
    """
    where = Path(folder)
    for each in (where, where / BUNDLE):
        if (each / MANIFEST).is_file():
            verify_manifest(each)
    place = next((current_folder(each) for each in (where, where / BUNDLE) if _is_ours(current_folder(each))), None)
    if place is None:
        raise UsageError(f"{folder} holds no model of perturbations. gendi cells perturb fit makes one.")
    verify_manifest(place)
    config = place / CONFIG
    data = read_json(config)
    if set(data) != set(FIELDS) or data["format"] != FORMAT:
        raise BundleError(
            f"{config}: this version of gendi reads format {FORMAT}, with the fields {', '.join(FIELDS)}."
        )
    try:
        expected = {name: (tuple(shape), DTYPES[dtype]) for name, (shape, dtype) in data["arrays"].items()}
        arrays = {name: tensor.numpy() for name, tensor in read_tensors(place / WEIGHTS, expected).items()}
        parts = {name: _decoded(value, arrays) for name, value in data["model"].items()}
        model = Perturbation(**parts, diffusion=None)
        for part in (model.effects, model.effects.singles):
            vars(part)[_SHARED] = model.experiment
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BundleError(f"{config} describes no model of perturbations: {type(error).__name__}: {error}") from error
    return model


def _is_ours(folder: Path) -> bool:
    try:
        data = read_json(folder / CONFIG)
    except (BundleError, OSError):
        return False
    return isinstance(data, dict) and data.get("kind") == KIND


def _classes() -> dict[str, type]:
    """Return the classes that a stored model may hold, by name."""
    found: dict[str, type] = {"Marginals": Marginals}
    for module in pkgutil.iter_modules(home.__path__):
        for name, each in vars(importlib.import_module(f"{home.__name__}.{module.name}")).items():
            own = isinstance(each, type) and each.__module__.startswith(home.__name__)
            if own and (dataclasses.is_dataclass(each) or issubclass(each, ShiftModel)):
                found[name] = each
    return found


def _encoded(value: Any, path: str, arrays: dict[str, Tensor]) -> Any:
    """Return a value as plain JSON; arrays are put into `arrays` under the path to them."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return value.item()
        case np.ndarray() if value.ndim == 2 and value.dtype.kind in "iu" and path.endswith("counts"):
            matrix = sp.csr_matrix(value)
            for name, part in (("data", matrix.data), ("indices", matrix.indices), ("indptr", matrix.indptr)):
                arrays[f"{path}.{name}"] = torch.from_numpy(part.astype(np.int64))
            return {"sparse": path, "shape": list(value.shape)}
        case np.ndarray():
            arrays[path] = torch.from_numpy(np.ascontiguousarray(value))
            return {"array": path}
        case tuple() | list():
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [_encoded(each, f"{path}.{i}", arrays) for i, each in enumerate(value)]}
        case dict():
            pairs = [[_encoded(k, path, arrays), _encoded(v, f"{path}.{k}", arrays)] for k, v in value.items()]
            return {"dict": pairs}
    name = type(value).__name__
    if _classes().get(name) is not type(value):
        raise TypeError(f"a model of perturbations cannot be stored with a {name} at {path}")
    fields = {k: v for k, v in vars(value).items() if not (k == _SHARED and isinstance(value, ShiftModel))}
    return {"object": name, "fields": {k: _encoded(v, f"{path}.{k}", arrays) for k, v in fields.items()}}


def _decoded(value: Any, arrays: dict[str, Any]) -> Any:
    """Return the value that `_encoded` wrote. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
    if not isinstance(value, dict):
        return value
    if "sparse" in value:
        parts = tuple(arrays[f"{value['sparse']}.{name}"] for name in ("data", "indices", "indptr"))
        matrix = sp.csr_matrix(parts, shape=tuple(value["shape"]))
        matrix.check_format()
        return np.asarray(matrix.toarray(), np.int64)
    if "array" in value:
        return arrays[value["array"]]
    if "tuple" in value:
        return tuple(_decoded(each, arrays) for each in value["tuple"])
    if "list" in value:
        return [_decoded(each, arrays) for each in value["list"]]
    if "dict" in value:
        return {_decoded(k, arrays): _decoded(v, arrays) for k, v in value["dict"]}
    kind = _classes()[value["object"]]
    fields = {name: _decoded(each, arrays) for name, each in value["fields"].items()}
    if dataclasses.is_dataclass(kind):
        return kind(**fields)
    made: Any = object.__new__(kind)
    vars(made).update(fields)
    return made


def _card(model: Perturbation) -> str:
    e = model.experiment
    lines = "\n".join(
        f"- {name}: {', '.join(names[:20])}{' and others' if len(names) > 20 else ''}"
        for name, names in (("types of cells", e.type_names), (f"{e.kind}s", e.drug_names))
    )
    columns = ", ".join(key for key in model.keys if key is not None)
    return (
        "# A model of perturbed cells\n\n"
        f"Fitted by gendi {__version__} ({type(model.effects).__name__}) to {int(e.control.sum()):,} control and "
        f"{int((~e.control).sum()):,} treated cells with {len(e.genes):,} genes. Columns: {columns}.\n\n"
        f"{lines}\n\n"
        "```python\nfrom gendi.cells import perturbation\n\n"
        'model = perturbation.load("path/to/this/folder")\n'
        f"cells = perturbation.predict(model, cell_type={e.type_names[0]!r}, drug={e.drug_names[0]!r}"
        f"{', dose=1.0' if e.dosed else ''})\n"
        "```\n\n"
        "The counts of the control cells are part of the model, since predictions are made of them.\n"
    )
