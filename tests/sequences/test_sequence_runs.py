"""A run on sequences from the file to the metric: exact resume, samples, infilling, likelihood, evaluation."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import gendi
from gendi.cli import main
from gendi.data import open_data
from gendi.data.sequences.evaluate import evaluate
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.discrete.config import TokensConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import DataError, PreemptedError, UsageError
from gendi.storage.files import read_json
from gendi.train.budget import Budget
from gendi.train.config import RunConfig, TrainConfig
from gendi.train.kept.bundle import load_bundle
from gendi.train.kept.checkpoint import load_latest
from gendi.train.presets import get_preset
from gendi.train.run.loop import train
from gendi.train.run.plan import dry_run
from stop_at import StopAt

STEPS = 12
GROUP = (ConditionConfig("group", dropout=0.2),)
TINY = RunConfig(
    preset="sequence",
    network=NetworkConfig("sequence", channels=(16,), blocks=1, heads=2, time_dim=16),
    optim=dataclasses.replace(get_preset("sequence").config.optim, lr=5e-3),
    process=get_preset("sequence").config.process,
    train=TrainConfig(batch_size=8, precision="fp32", layout="contiguous", preview_every=48, evaluate_every=0),
    sample=get_preset("sequence").config.sample,
    tokens=TokensConfig("absorbing"),
)


def made(path: Path, letters: str = "ACGT", n: int = 120) -> str:
    """Write sequences in which the letters follow one another in their order, of two groups that start apart."""
    rng, lines = np.random.default_rng(0), []
    for i in range(n):
        start, length = 2 * (i % 2), int(rng.integers(4, 9))
        text = [letters[(start + j + (rng.random() < 0.1)) % len(letters)] for j in range(length)]
        lines.append(f">s{i} group={'xy'[i % 2]}\n{''.join(text)}\n")
    path.write_text("".join(lines))
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return made(tmp_path_factory.mktemp("data") / "seqs.fasta")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "whole"
    config = dataclasses.replace(TINY, conditions=GROUP)
    train(data, config, place, Budget(steps=STEPS))
    return place


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(data, run, tmp_path):
    config = dataclasses.replace(TINY, conditions=GROUP)
    other = tmp_path / "interrupted"
    with pytest.raises(PreemptedError):
        train(data, config, other, Budget(steps=STEPS), console=StopAt(5))
    train(data, config, other, Budget(steps=STEPS))
    one, two = load_latest(run), load_latest(other)
    assert one is not None and two is not None and one.step == two.step == STEPS
    for group in ("model", "ema", "optimizer"):
        for name, tensor in one.tensors[group].items():
            assert torch.equal(tensor, two.tensors[group][name]), (group, name)
    assert (run / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert (run / "bundle/model.safetensors").read_bytes() == (other / "bundle/model.safetensors").read_bytes()
    for picture in (run / "previews").iterdir():
        assert picture.read_bytes() == (other / "previews" / picture.name).read_bytes()


def test_a_bundle_comes_back_with_its_alphabet_and_its_number_of_tokens(run):
    bundle = load_bundle(run)
    assert bundle.config.tokens == TokensConfig("absorbing", vocabulary=6)
    assert bundle.codec.shape == (8,)
    assert "absorbing, linear" in (run / "bundle/README.md").read_text()
    assert "draws: sequences of up to 8 letters of the alphabet dna" in repr(bundle)


@pytest.mark.parametrize("sampler", ["first-hitting", "ancestral", "cached", "confidence", "predictor-corrector"])
def test_samples_do_not_depend_on_the_batch(run, sampler):
    whole = gendi.sample(run, n=9, sampler=sampler, steps=6)
    assert whole.tolist() == gendi.sample(run, n=9, sampler=sampler, steps=6, batch_size=4).tolist()
    assert whole[6:].tolist() == gendi.sample(run, n=3, sampler=sampler, steps=6, first_index=6).tolist()
    assert all(set(text) <= set("ACGT") and len(text) <= 8 for text in whole.tolist())


def test_given_letters_stay(run):
    for text in gendi.sample(run, n=6, infill="A??T").tolist():
        assert len(text) == 4 and text[0] == "A" and text[3] == "T"  # what is free is a letter, and no end
    assert any(len(text) > 2 for text in gendi.sample(run, n=20, infill="AC*").tolist())
    with pytest.raises(UsageError, match="has 9 letters, and this model draws up to 8"):
        gendi.sample(run, n=2, infill="A????????")


def test_guidance_moves_samples_and_1_is_none(run):
    plain = gendi.sample(run, n=8, condition={"group": "x"})
    assert plain.tolist() == gendi.sample(run, n=8, condition={"group": "x"}, guidance=1.0).tolist()
    assert plain.tolist() != gendi.sample(run, n=8, condition={"group": "x"}, guidance=8.0).tolist()
    with pytest.raises(UsageError, match="guided by one scale"):
        gendi.sample(run, n=2, condition={"group": "x"}, guidance=gendi.Guidance(2.0, rescale=0.5))


def test_bits_per_letter_are_nats_over_letters(run, data):
    found = gendi.bits_per_letter(run, n=10, draws=None)
    assert found.bound.draws == 8 and found.bound.steps is None
    assert found.bits == pytest.approx(found.nats * 10 / found.letters.sum() / np.log(2))
    assert found.bits_error > 0 and sum(found.parts) == pytest.approx(found.bits)
    chain = gendi.bits_per_letter(run, n=10, draws=None, steps=4)
    assert chain.bound.steps == 4
    own = gendi.bits_per_letter(run, np.array(["ACGTA", "GTAC"]))
    assert own.letters.tolist() == [5, 4]
    with pytest.raises(DataError, match="'X' at position 2"):
        gendi.bits_per_letter(run, np.array(["AX", "GT"]))


def test_data_of_another_alphabet_or_length_are_refused(run, tmp_path):
    rna = made(tmp_path / "rna.fasta", "ACGU")
    with pytest.raises(DataError, match="their alphabet is rna, and the model's dna"):
        gendi.bits_per_letter(run, rna)
    with pytest.raises(UsageError, match="does not fit the weights"):
        gendi.fit(rna, out=tmp_path / "run", init=run, steps=1, quiet=True)
    long = made(tmp_path / "long.fasta") + "?longest=20"
    with pytest.raises(UsageError, match=r"Open them with \?longest=8"):
        gendi.fit(long, out=tmp_path / "run", init=run, steps=1, quiet=True)


def test_a_run_starts_from_the_weights_of_another(run, data, tmp_path):
    model = gendi.fit(data, out=tmp_path / "run", init=run, steps=1, quiet=True)
    assert model.meta["start"]["from"] == str(run)


def test_numbers_and_tokens_do_not_mix(data, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(50)))
    with pytest.raises(UsageError, match=r"is made of numbers.*must be 'none'"):
        train(str(table), TINY, tmp_path / "a", Budget(steps=1))
    with pytest.raises(UsageError, match=r"is made of tokens.*must be 'absorbing' or 'uniform'"):
        train(data, get_preset("table").config, tmp_path / "b", Budget(steps=1))
    with pytest.raises(UsageError, match="takes numbers"):
        dataclasses.replace(TINY, network=get_preset("table").config.network).validate()
    with pytest.raises(UsageError, match="takes tokens"):
        dataclasses.replace(TINY, tokens=TokensConfig()).validate()
    with pytest.raises(UsageError, match="lifts masks"):
        dataclasses.replace(TINY, tokens=TokensConfig("uniform", loss="bound")).validate()


def test_uniform_noise_and_a_chain_train_too(data, tmp_path):
    config = dataclasses.replace(
        TINY,
        tokens=TokensConfig("uniform", loss="bound", schedule="cosine", steps=10),
        sample=dataclasses.replace(TINY.sample, sampler="ancestral", steps=10),
    )
    train(data, config, tmp_path / "run", Budget(steps=3))
    assert len(gendi.sample(tmp_path / "run", n=4)) == 4
    with pytest.raises(UsageError, match="a process with masks"):
        gendi.sample(tmp_path / "run", n=4, infill="A*")
    with pytest.raises(UsageError, match="chain has 10 steps"):
        gendi.sample(tmp_path / "run", n=4, steps=11)
    assert gendi.bits_per_letter(tmp_path / "run", n=4).bound.steps == 10


def test_the_command_line_goes_from_a_file_to_samples(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--network.channels", "16", "--network.blocks", "1", "--network.heads", "2", "--network.time-dim", "16"]
    small += ["--train.precision", "fp32", "--train.layout", "contiguous", "--batch-size", "8", "--evaluate-every", "0"]
    assert main(["train", data, *small, "--steps", "4"]) == 0
    assert main(["sample", "runs/seqs", "--n", "5"]) == 0
    assert Path("runs/seqs/samples.fasta").read_text().count(">") == 5
    assert main(["sample", "runs/seqs", "--n", "5", "--infill", "AC??", "--out", "filled.txt"]) == 0
    assert all(line.startswith("AC") and len(line) == 4 for line in Path("filled.txt").read_text().splitlines())
    capsys.readouterr()
    assert main(["likelihood", "runs/seqs", "--n", "6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sets"][data]["n"] == 6
    assert main(["sample", "runs/seqs", "--infill", "AXX?"]) == 2
    assert "'X' at position 2" in capsys.readouterr().err
    assert main(["likelihood", "runs/seqs", "--method", "ode"]) == 2
    assert main(["evaluate", "runs/seqs", "--n", "20"]) == 0
    assert read_json(Path("runs/seqs/evaluation.json"))["metrics"].keys() >= {"length", "composition", "copies"}
    assert read_json(Path("runs/seqs/evaluation.json"))["metrics"]["bits-per-letter"]["value"] > 0
    assert main(["report", "runs/seqs"]) == 0
    page = Path("runs/seqs/report.html").read_text()
    assert "The first 16 held-out sequences." in page and "Bits per letter" in page
    assert Path("runs/seqs/pictures/sequence-letters.png").is_file()


def test_real_sequences_pass_and_fakes_are_caught(tmp_path):
    """Held-out sequences in the samples' place lie within all gates; each fake fails one of its own."""
    data = open_data(made(tmp_path / "seqs.fasta", n=1500))
    codec = data.fitted
    fresh = open_data(made(tmp_path / "more.fasta", n=1500))
    real = np.array([codec.text(row) for row in fresh.heldout.batch(range(len(fresh.heldout)))])
    found = evaluate(real, data, n=150, splits=6, replicates=5)
    missed = [name for name, gates in found.caught().items() if not gates]
    assert "shuffled" not in missed and "independent" not in missed and "mutated" not in missed
    assert all(metric.floor is not None and metric.gate is not None for metric in found.metrics)
    with pytest.raises(DataError, match="Sample 1 has 'X' at position 2"):
        evaluate(["AX", "AC"], data)


def test_a_dry_run_says_what_is_left_out(tmp_path):
    place = tmp_path / "s.fasta"
    place.write_text("".join(f">s{i}\n{'ACGT'[i % 4] * 4 if i != 7 else 'ACZT'}\n" for i in range(200)))
    notes = dry_run(str(place), TINY)["data"]["notes"]
    assert "alphabet dna" in notes[0] and "line 15, >s7: 'Z' at position 3" in notes[-1]
