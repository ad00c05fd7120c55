"""The Python of the reference pages and of README runs, on small data and within a few steps, and does what it says.

A test writes down what a page takes for granted (`runs/mnist`, `adata`, `seqs.fasta`, ...), runs the page's blocks in
order in one namespace, and looks at what they made. docs/python.md and docs/extending.md have tests of their own.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gendi
from gendi.diffusion import MixtureDenoiser, make_schedule
from gendi.train.presets import PRESETS

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
OWN = {"python", "extending"}
SHORTER = {
    r"seconds=[\d.]+": "steps=2",
    r'"mnist"': '"digits.npz"',
    r"size=128": "size=16",
    r"\bn=(64|100|500|1000)\b": "n=6",
    r"(gendi\.(?:inpaint|interpolate)\(.*)\)": r"\1, steps=4)",
    r"Drawing\(steps=40\)": "Drawing(steps=4)",
}
"""Budgets and numbers of the pages, and those of the tests."""


def run(page: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks of a page in order; return the names that it defines, and those that were given."""
    path = ROOT / "README.md" if page == "README" else ROOT / "docs" / f"{page}.md"
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        for pattern, short in SHORTER.items():
            block = re.sub(pattern, short, block)
        exec(compile(block, str(path), "exec"), names)
    return names


def shrunk(name: str) -> Any:
    """Return a preset whose network is small, and which is not probed for what is fastest."""
    config = PRESETS[name].config
    sizes: dict[str, Any] = {"mnist": {"channels": (8, 16), "groups": 4, "time_dim": 16}}
    sizes["latents"] = sizes["mnist"] | {"blocks": 1, "attention": (1,)}
    small: dict[str, Any] = sizes.get(name, {"channels": (16,), "blocks": 1, "time_dim": 16})
    if name == "sequence":
        small |= {"heads": 2}
    train = replace(
        config.train, batch_size=16, precision="fp32", layout="contiguous", workers=1, evaluate_every=0, preview_every=0
    )
    return replace(PRESETS[name], config=replace(config, network=replace(config.network, **small), train=train))


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the pages run, with a run of pictures of ten digits in it."""
    folder, rng = tmp_path_factory.mktemp("pages"), np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GENDI_CACHE", str(folder / "cache"))
        for name in ("mnist", "latents", "sequence", "table", "cells"):
            patch.setitem(PRESETS, name, shrunk(name))
        pictures = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
        np.savez("digits.npz", images=pictures, labels=np.arange(40) % 10)
        gendi.fit("digits.npz", out="runs/mnist", steps=2, quiet=True)
        yield folder


def test_every_page_with_python_is_run() -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md") if BLOCK.search(path.read_text(encoding="utf-8"))}
    tested = {name.removeprefix("test_the_code_of_") for name in globals() if name.startswith("test_the_code_of_")}
    assert pages - OWN == tested - {"readme"}


def test_the_code_of_readme() -> None:
    made = run("README", {})
    assert made["digits"].shape == (6, 28, 28, 1) and made["digits"].dtype == np.uint8
    assert gendi.load("runs/mine").config == made["model"].config


def test_the_code_of_distillation() -> None:
    made = run("distillation", {"gendi": gendi})
    assert made["digits"].shape == (6, 28, 28, 1)
    assert made["student"].config.sample.steps == 2  # as it was made for


def test_the_code_of_editing() -> None:
    rng = np.random.default_rng(1)
    digit, other = rng.integers(0, 256, (2, 28, 28), dtype=np.uint8)
    made = run("editing", {"np": np, "digit": digit, "other": other, "images": np.stack([digit, other])[..., None]})
    assert made["four"].shape == (4, 28, 28, 1)
    for given in (made["four"], made["sevens"]):  # the part that is not painted keeps every byte
        assert (given[:, :14, :, 0] == digit[:14]).all()
    assert len(made["way"]) == 9
    assert made["x"].shape == made["x_0"].shape == (2, 1, 28, 28)


def test_the_code_of_guidance() -> None:
    made = run("guidance", {"bundle": gendi.load("runs/mnist"), "labels": torch.arange(6) % 10})
    assert made["sevens"].shape == made["others"].shape == (16, 28, 28, 1)
    assert made["x"].shape == (6, 1, 28, 28)


def test_the_code_of_latent() -> None:
    rng = np.random.default_rng(2)
    Path("photos").mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(f"photos/{i}.png")
    made = run("latent", {})
    assert made["pictures"].shape == (6, 16, 16, 3) and made["pictures"].dtype == np.uint8


def test_the_code_of_models() -> None:
    made = run("models", {})
    assert made["sevens"].shape == (6, 28, 28, 1)
    assert made["model"].class_names == tuple("0123456789")


def test_the_code_of_sde() -> None:
    """The round trip of a mixture differs by 6e-4 in 50 steps, for standard deviations from 0.14 to 0.9."""
    mixture = MixtureDenoiser(
        make_schedule("cosine"),
        torch.tensor([0.5, 0.5]),
        torch.tensor([[1.0, 0.0], [-1.0, 0.5]]),
        torch.stack([torch.eye(2) * 0.14**2, torch.eye(2) * 0.9**2]),
    )
    x_0 = torch.tensor([[1.1, 0.1], [-0.8, 0.2], [-1.9, 1.1]], dtype=torch.float64)
    made = run("sde", {"denoiser": mixture, "x_0": x_0})
    torch.testing.assert_close(made["x_0"], x_0, rtol=0, atol=2e-3)
    assert (made["x_1"] - x_0).abs().max() > 0.1


def test_the_code_of_sequences() -> None:
    rng = np.random.default_rng(3)
    rows = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), rng.integers(5, 9))) for _ in range(60)]
    Path("seqs.fasta").write_text("".join(f">s{i}\n{row}\n" for i, row in enumerate(rows)))
    made = run("sequences", {})
    assert made["texts"].shape == (6,) and made["texts"].dtype.kind in "UO"
    assert all(re.fullmatch(r"ACD[A-Z]{2}F", text) for text in made["filled"])


def test_the_code_of_tables() -> None:
    made = run("tables", {})
    table, fake = made["table"], made["fake"]
    assert (
        list(fake.columns) == list(table.columns) and (fake.dtypes == table.dtypes).all() and len(table.columns) == 20
    )


def test_the_code_of_cells() -> None:
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    counts = np.random.default_rng(4).negative_binomial(2, 0.4, (90, 12)) + 1
    obs = pandas.DataFrame(
        {"cell_type": pandas.Categorical(["A", "B", "C"] * 30), "batch": pandas.Categorical(["x", "y"] * 45)},
        index=[f"cell{i}" for i in range(90)],
    )
    made = run("cells", {"adata": anndata.AnnData(np.zeros((90, 12)), obs=obs, layers={"counts": counts})})
    fake = made["fake"].layers["counts"]
    assert fake.shape == (6, 12) and (fake.toarray() == fake.toarray().round()).all() and fake.min() >= 0


def test_the_code_of_perturbation() -> None:
    pytest.importorskip("anndata")
    from gendi.data.cells.perturbation.semi_synthetic import semi_synthetic

    rng = np.random.default_rng(5)
    labels = np.repeat(["Dendritic", "B", "T"], 30)
    counts = rng.poisson(rng.gamma(1.0, 2.0, (3, 60))[np.repeat(np.arange(3), 30)] + 0.3)
    adata = semi_synthetic(counts, labels, 0, drugs=2, programme=8, cells=20, interacting=1).to_anndata()
    made = run("perturbation", {"adata": adata})
    cells = made["cells"]
    assert cells.layers["counts"].dtype.kind == "i" and list(cells.var_names) == list(adata.var_names)
    assert set(made["cells"].obs["cell_type"]) == {"Dendritic"} and set(made["cells"].obs["dose"]) == {3.0}


def test_the_code_of_scoring() -> None:
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    rng = np.random.default_rng(6)
    drug, kind = np.repeat(["DMSO", "a", "b", "c"], 40), np.tile(["B", "T"], 80)
    more = np.where(np.arange(30) < 8, (np.arange(4) / 2 + 1)[:, None], 1.0)[np.arange(160) // 40]
    obs = pandas.DataFrame({"drug": drug, "cell_type": kind}, index=[f"cell{i}" for i in range(160)])
    for name in ("real", "pred"):
        counts = rng.poisson(20 * more).astype(np.float32)
        anndata.AnnData(counts, obs=obs).write_h5ad(f"{name}.h5ad")
    made = run("scoring", {})["scores"]
    assert len(made.frame()) > 0 and made.to_dict()
