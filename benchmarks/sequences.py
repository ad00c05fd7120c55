"""Sequences beside the truth: T-cell receptors with their exact probabilities, splice sites that were all measured,
peptides, molecules, and text.

    pip install --no-deps olga modlamp mavenn molsets       files and generators; nothing else of them is needed
    python benchmarks/sequences.py receptors                one of receptors, splice, peptides, molecules, text
    python benchmarks/sequences.py text --text book.txt     any long text
    python benchmarks/sequences.py receptors --seconds 30   a quick look; nothing is written
    python benchmarks/sequences.py table                    writes the tables of docs/sequences.md, and nothing else

Each trains `--seconds` (300) and writes its figures into benchmarks/results/sequences-NAME.json. `molecules` counts
valid SMILES by RDKit, where it is installed. The packages are read where they are and imported as little as can
be: `mavenn` would bring TensorFlow.
"""

import argparse
import csv
import dataclasses
import gzip
import importlib.metadata
import json
import lzma
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import record

import gendi
from gendi.data import open_data
from gendi.data.kinds import kind_of
from gendi.diffusion.config import ConditionConfig
from gendi.train.presets import get_preset

SECONDS = 300.0
LN2 = math.log(2)


def file_of(package: str, name: str) -> Path:
    """Return a file of an installed package, without importing it."""
    for entry in importlib.metadata.files(package) or ():
        if str(entry).endswith(name):
            return Path(str(entry.locate()))
    raise SystemExit(f"{package} has no file {name}: pip install --no-deps {package}")


def share(hits: int, of: int) -> dict[str, float | int | list[float]]:
    """Return a share with Wilson's interval of 95%."""
    z, p = 1.96, hits / max(of, 1)
    middle, half = (p + z**2 / 2 / of) / (1 + z**2 / of), z * math.sqrt(p * (1 - p) / of + (z / 2 / of) ** 2)
    return {"value": p, "of": of, "interval": [middle - half / (1 + z**2 / of), middle + half / (1 + z**2 / of)]}


def mean(values: np.ndarray) -> dict[str, float | list[float]]:
    """Return a mean with its interval of 95%."""
    error = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return {"value": float(values.mean()), "interval": [float(values.mean()) - error, float(values.mean()) + error]}


def trained(spec: str, folder: Path, seconds: float, condition: str = "", seed: int = 0) -> Any:
    """Return a model of the preset that learned for so many seconds."""
    config = get_preset("sequence").config
    train = dataclasses.replace(config.train, seed=seed, evaluate_every=0, preview_every=0)
    conditions = (ConditionConfig(condition),) if condition else ()
    config = dataclasses.replace(config, train=train, conditions=conditions)
    return gendi.fit(spec, out=folder / "run", config=config, seconds=seconds)


def measured(model: Any, spec: str, texts: np.ndarray) -> dict[str, Any]:
    """Return bits per letter, and each measure of samples beside its floor."""
    bound, data = gendi.bits_per_letter(model, n=2000), open_data(spec)
    found = kind_of("sequence").evaluate(texts, data, n=1000)
    return {
        "bits_per_letter": [bound.bits, bound.bits_error],
        "metrics": {m.name: [m.value, m.floor, m.passed] for m in found.metrics},
    }


# --- T-cell receptors


class Receptors:
    """The law of human T-beta CDR3 by OLGA (Sethna et al. 2019): samples, and the exact probability of each."""

    def __init__(self, seed: int) -> None:
        import olga.generation_probability as generation
        import olga.load_model as load
        import olga.sequence_generation as drawing

        def place(name: str) -> str:
            return str(file_of("olga", f"default_models/human_T_beta/{name}"))

        genomic, model = load.GenomicDataVDJ(), load.GenerativeModelVDJ()
        anchors = place("V_gene_CDR3_anchors.csv"), place("J_gene_CDR3_anchors.csv")
        genomic.load_igor_genomic_data(place("model_params.txt"), *anchors)
        model.load_and_process_igor_model(place("model_marginals.txt"))
        self.pgen = generation.GenerationProbabilityVDJ(model, genomic)
        self.source, self.tries = drawing.SequenceGenerationVDJ(model, genomic), 0
        draw = self.source.choose_random_recomb_events

        def counted() -> Any:
            self.tries += 1
            return draw()

        self.source.choose_random_recomb_events = counted
        np.random.seed(seed)  # noqa: NPY002  # OLGA draws from the global generator

    def draw(self, n: int) -> list[str]:
        """Return n amino-acid sequences of productive rearrangements."""
        return [self.source.gen_rnd_prod_CDR3()[1] for _ in range(n)]

    def log_p(self, texts: Sequence[str], productive: float) -> np.ndarray:
        """Return the log probabilities of texts among productive sequences; -inf for those that cannot be."""
        found = np.array([self.pgen.compute_aa_CDR3_pgen(text, print_warnings=False) for text in texts])
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(found) - math.log(productive))


def receptors(folder: Path, seconds: float, n: int = 200_000, judged: int = 2000) -> dict[str, Any]:
    """Bound above the true entropy per residue; the probabilities of samples beside those of the law."""
    law = Receptors(0)
    texts = law.draw(n)
    productive = n / law.tries
    (folder / "receptors.txt").write_text("\n".join(texts) + "\n")
    spec = f"{folder}/receptors.txt?alphabet=protein"
    model = trained(spec, folder, seconds)
    fresh = np.array(law.draw(judged))
    bound = gendi.bits_per_letter(model, fresh, n=judged)
    true = -law.log_p(fresh.tolist(), productive)
    gap = (bound.bound.values.numpy() - true) / bound.letters
    drawn = gendi.sample(model, n=judged, seed=1)
    of_samples = law.log_p([text or "A" for text in drawn.tolist()], productive)
    possible = np.isfinite(of_samples)
    return {
        "productive": productive,
        "entropy_nats_per_residue": mean(true / bound.letters),
        "bound_above_it": mean(gap),
        "log_p_of_the_law": mean(-true),
        "log_p_of_samples": mean(of_samples[possible]),
        "possible": share(int(possible.sum()), judged),
        **measured(model, spec, drawn[:1000]),
    }


# --- splice sites


def splice(folder: Path, seconds: float, n: int = 10_000) -> dict[str, Any]:
    """Of sites that were asked to be included in more than 80% of transcripts, those that truly are, by look-up."""
    with gzip.open(file_of("mavenn", "mpsa_data.csv.gz"), "rt") as file:
        rows = [(row["x"], 10 ** float(row["y"])) for row in csv.DictReader(file)]
    psi = dict(rows)
    with (folder / "sites.csv").open("w") as file:
        file.write("sequence,psi\n")
        file.writelines(f"{site},{name_of(value)}\n" for site, value in rows)
    spec = f"sequences:{folder}/sites.csv?alphabet=rna"
    model = trained(spec, folder, seconds, "psi")
    data = open_data(spec)
    codec = data.fitted
    known = {codec.text(row) for row in data.train.batch(range(len(data.train)))}  # type: ignore[attr-defined]
    out: dict[str, Any] = {"base_rate": share(sum(value > 80 for value in psi.values()), len(psi))}
    for scale in (1.0, 2.0, 3.0):
        drawn = gendi.sample(model, n=n, condition={"psi": "above 80"}, guidance=scale)
        new = sorted({site for site in drawn.tolist() if site in psi and site not in known})
        good = sum(psi[site] > 80 for site in new)
        seen = sorted({site for site in drawn.tolist() if site in known})
        out[f"guidance_{scale:g}"] = {
            "held_out_sites_above_80": share(good, max(len(new), 1)),
            "training_sites_above_80": share(sum(psi[site] > 80 for site in seen), max(len(seen), 1)),
            "never_measured": sum(site not in psi for site in set(drawn.tolist())),
        }
    held = [codec.text(row) for row in data.heldout.batch(range(len(data.heldout)))]  # type: ignore[attr-defined]
    out["held_out_above_80"] = sum(psi[site] > 80 for site in held)
    return out


def name_of(value: float) -> str:
    """Return the class of a PSI in per cent."""
    for edge in (5, 20, 50, 80):
        if value <= edge:
            return f"up to {edge}"
    return "above 80"


# --- peptides, molecules, text


def peptides(folder: Path, seconds: float) -> dict[str, Any]:
    """Antimicrobial peptides."""
    with file_of("modlamp", "AMPvsUniProt.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    texts = sorted({row[0].strip() for row in rows if row[1].strip() == "1"})
    (folder / "peptides.txt").write_text("\n".join(texts) + "\n")
    spec = f"{folder}/peptides.txt?alphabet=protein&longest=60"
    model = trained(spec, folder, seconds)
    return {"peptides": len(texts), **measured(model, spec, gendi.sample(model, n=1000))}


def molecules(folder: Path, seconds: float, n: int = 5000) -> dict[str, Any]:
    """Validity, uniqueness and novelty of drawn SMILES, as MOSES counts them (Polykovskiy et al. 2020)."""
    with gzip.open(file_of("molsets", "dataset/data/train.csv.gz"), "rt") as file:
        texts = [row["SMILES"] for row in csv.DictReader(file)]
    chosen = np.random.default_rng(0).permutation(len(texts))[:100_000]
    (folder / "molecules.smi").write_text("\n".join(texts[i] for i in chosen) + "\n")
    spec = f"{folder}/molecules.smi"
    model = trained(spec, folder, seconds)
    drawn = gendi.sample(model, n=n)
    out = measured(model, spec, drawn[:1000])
    try:
        from rdkit import Chem, RDLogger
    except ImportError:
        return out
    RDLogger.DisableLog("rdApp.*")
    found = [Chem.MolFromSmiles(text) if text else None for text in drawn.tolist()]
    valid = [Chem.MolToSmiles(mol) for mol in found if mol is not None]
    known = {Chem.MolToSmiles(Chem.MolFromSmiles(texts[i])) for i in chosen}
    out["valid"] = share(len(valid), n)
    out["unique"] = share(len(set(valid)), max(len(valid), 1))
    out["novel"] = share(len(set(valid) - known), max(len(set(valid)), 1))
    return out


def text(folder: Path, seconds: float, path: Path, window: int = 64) -> dict[str, Any]:
    """Bits per character of the last tenth of a text: a bound, beside xz and a 5-gram that read the rest before."""
    spec = f"{path}?window={window}"
    model = trained(spec, folder, seconds)
    bound, data = gendi.bits_per_letter(model, n=1000), open_data(spec)
    codec = data.fitted
    train, held = (
        "".join(codec.text(row) for row in part.batch(range(len(part))))  # type: ignore[attr-defined]
        for part in (data.train, data.heldout)
    )
    both, alone = (len(lzma.compress(part.encode(), preset=9)) for part in (train + held, train))
    return {
        "window": window,
        "bits_per_character": [bound.bits, bound.bits_error],
        "xz_after_the_rest": 8 * (both - alone) / len(held),
        "five_gram": n_gram(train, held, window),
        "letters": len(set(train)),
        "characters": [len(train), len(held)],
        "note": "the model and the 5-gram begin anew in every piece; xz knows all that comes before",
    }


def n_gram(train: str, held: str, window: int, order: int = 5) -> float:
    """Return bits per character of a 5-gram, each order mixed with the one below (Witten & Bell 1991)."""
    counts: list[dict[str, Counter[str]]] = [{} for _ in range(order)]
    for i, letter in enumerate(train):
        for k in range(min(order, i % window + 1)):
            counts[k].setdefault(train[i - k : i], Counter())[letter] += 1
    size, bits = len(set(train)) + 1, 0.0
    for i, letter in enumerate(held):
        p = 1 / size
        for k in range(min(order, i % window + 1)):
            if (seen := counts[k].get(held[i - k : i])) is not None:
                total, kinds = seen.total(), len(seen)
                p = (seen[letter] + kinds * p) / (total + kinds)
        bits -= math.log2(p)
    return bits / len(held)


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "receptors": receptors,
    "splice": splice,
    "peptides": peptides,
    "molecules": molecules,
    "text": text,
}


# --- the page

MOSES = {
    "CharRNN": (0.975, 0.999, 0.842),
    "AAE": (0.937, 0.997, 0.793),
    "VAE": (0.977, 0.998, 0.695),
    "JTN-VAE": (1.0, 1.0, 0.914),
    "LatentGAN": (0.897, 0.997, 0.950),
}
"""Validity, uniqueness of 10,000 samples and novelty in MOSES' own table, of models that learned from 1.6 million
molecules on GPUs [Polykovskiy et al. 2020, table 2].
"""


def page() -> None:
    """Write what is known of each part into docs/sequences.md."""
    known = {}
    for part in PARTS:
        path = record.RESULTS / f"sequences-{part}.json"
        known[part] = json.loads(path.read_text("utf-8")) if path.exists() else None
    for part, found in known.items():
        if found is not None:
            record.write_table("sequences.md", f"sequences-{part}", TABLES[part](found))


def _with(found: dict[str, Any], form: str) -> str:
    low, high = found["interval"]
    return f"{found['value']:{form}} ({low:{form}} to {high:{form}})"


def _receptors(found: dict[str, Any]) -> list[str]:
    return [
        "| what | of the model | of the truth |",
        "|---|---|---|",
        f"| nats per residue | {_with(found['bound_above_it'], '.3f')} above the truth (bound) "
        f"| {_with(found['entropy_nats_per_residue'], '.3f')} |",
        f"| mean log probability of 2000 sequences | {_with(found['log_p_of_samples'], '.2f')} "
        f"| {_with(found['log_p_of_the_law'], '.2f')} |",
        f"| sequences that can be | {_with(found['possible'], '.1%')} | 100% |",
        f"| measures with a gate, passed | {_passed(found)} | |",
    ]


def _splice(found: dict[str, Any]) -> list[str]:
    lines = [
        "| guidance | of the drawn sites that were held out, included above 80% | of those that were trained on |",
        "|---|---|---|",
    ]
    for scale in (1, 2, 3):
        each = found[f"guidance_{scale}"]
        held, seen = each["held_out_sites_above_80"], each["training_sites_above_80"]
        lines.append(f"| {scale} | {_with(held, '.0%')} of {held['of']} | {_with(seen, '.0%')} of {seen['of']:,} |")
    return lines


def _passed(found: dict[str, Any]) -> str:
    graded = {name: passed for name, (_, _, passed) in found["metrics"].items() if passed is not None}
    failed = [name for name, passed in graded.items() if not passed]
    return f"{len(graded) - len(failed)} of {len(graded)}" + (f" (not {', '.join(failed)})" if failed else "")


def _peptides(found: dict[str, Any]) -> list[str]:
    bits, error = found["bits_per_letter"]
    return [
        "| peptides | bits per letter (bound) | a forest's AUC | measures with a gate, passed |",
        "|---|---|---|---|",
        f"| {found['peptides']:,} | {bits:.2f} ± {1.96 * error:.2f} | {found['metrics']['auc-forest'][0]:.2f} "
        f"| {_passed(found)} |",
    ]


def _molecules(found: dict[str, Any]) -> list[str]:
    lines = ["| model | valid | unique | new |", "|---|---|---|---|"]
    ours = " | ".join(_with(found[name], ".1%") for name in ("valid", "unique", "novel"))
    lines.append(f"| gendi, 100,000 molecules, five minutes of a CPU's core | {ours} |")
    return [*lines, *(f"| {name} | {' | '.join(f'{x:.1%}' for x in values)} |" for name, values in MOSES.items())]


def _text(found: dict[str, Any]) -> list[str]:
    bits, error = found["bits_per_character"]
    return [
        "| model | bits per character |",
        "|---|---|",
        f"| gendi (bound), pieces of {found['window']} characters | {bits:.2f} ± {1.96 * error:.2f} |",
        f"| a 5-gram in the same pieces | {found['five_gram']:.2f} |",
        f"| `xz`, after all that comes before | {found['xz_after_the_rest']:.2f} |",
    ]


TABLES = {"receptors": _receptors, "splice": _splice, "peptides": _peptides, "molecules": _molecules, "text": _text}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("part", choices=(*PARTS, "table"))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--text", type=Path)
    given = parser.parse_args()
    if (given.part == "text") != (given.text is not None):
        parser.error("--text FILE goes with text, and text needs it")
    if given.part == "table":
        page()
        return
    more = {"path": given.text} if given.part == "text" else {}
    with tempfile.TemporaryDirectory() as folder:
        found = PARTS[given.part](Path(folder), given.seconds, **more)
    for name, value in found.items():
        print(f"{name}: {value}")
    if given.seconds >= SECONDS:
        record.write(f"sequences-{given.part}", {"seconds": given.seconds, **found})
        page()


if __name__ == "__main__":
    main()
