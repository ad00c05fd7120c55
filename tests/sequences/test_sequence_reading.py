"""Opening sequences: alphabets, files, what is held out, and what is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from gendi.data import open_data
from gendi.data.codec_files import codec_from_dict
from gendi.data.kinds import find_kind
from gendi.data.sequences.alphabet import Alphabet, LetterError, cut, guessed
from gendi.data.sequences.codec import SequenceCodec
from gendi.data.sequences.files import read_records
from gendi.data.sequences.output import read_texts, write_sequences
from gendi.errors import BundleError, DataError, UsageError

RNG = np.random.default_rng(0)
PEPTIDES = ["".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), RNG.integers(3, 9))) for _ in range(60)]


def fasta(path: Path, texts=PEPTIDES) -> Path:
    path.write_text("".join(f">s{i} group={'ab'[i % 2]}\n{text[:3]}\n{text[3:]}\n" for i, text in enumerate(texts)))
    return path


def texts_of(data) -> set[str]:
    codec = data.fitted
    return {codec.text(row) for part in (data.train, data.heldout) for row in part.batch(range(len(part)))}


def test_a_fasta_file_has_sequences_of_several_lines_and_conditions(tmp_path):
    data = open_data(str(fasta(tmp_path / "p.fasta")))
    assert data.kind == "sequence" and texts_of(data) == set(PEPTIDES)
    codec = data.fitted
    assert codec.alphabet.name == "protein" and codec.tokens == 22 and codec.shape == (max(map(len, PEPTIDES)),)
    (spec,) = data.conditions
    assert (spec.name, spec.names) == ("group", ("a", "b"))
    assert "alphabet protein" in data.notes[0]


def test_csv_text_and_gzip_hold_the_same(tmp_path):
    (tmp_path / "one.csv").write_text("peptide\n" + "".join(f"{text}\n" for text in PEPTIDES))
    (tmp_path / "two.csv").write_text(
        "id,sequence,dose\n" + "".join(f"{i},{t},{i}.5\n" for i, t in enumerate(PEPTIDES))
    )
    (tmp_path / "t.txt").write_text("\n".join([*PEPTIDES, ""]))
    (tmp_path / "z.fasta.gz").write_bytes(gzip.compress(fasta(tmp_path / "p.fasta").read_bytes()))
    specs = [f"sequences:{tmp_path}/one.csv", f"sequences:{tmp_path}/two.csv", f"{tmp_path}/t.txt"]
    for spec in (*specs, f"{tmp_path}/z.fasta.gz"):
        assert texts_of(open_data(spec)) == set(PEPTIDES)
    dose = {spec.name: spec for spec in open_data(specs[1]).conditions}["dose"]
    assert dose.kind == "value"
    (tmp_path / "no.csv").write_text("id,x\n1,AC\n")
    with pytest.raises(UsageError, match="say which column has the sequences of id, x"):
        open_data(f"sequences:{tmp_path}/no.csv")
    assert find_kind(f"{tmp_path}/one.csv").name == "table"
    with pytest.raises(DataError, match="open it as sequences:FILE.csv"):
        open_data(f"{tmp_path}/one.csv")


def test_what_is_held_out_was_not_trained_on(tmp_path):
    data = open_data(str(fasta(tmp_path / "p.fasta", [*PEPTIDES, *PEPTIDES[:4]])))
    train, held = ({data.fitted.text(row) for row in part.rows} for part in (data.train, data.heldout))
    assert not train & held and len(held) == round(0.2 * len(set(PEPTIDES)))
    many = open_data(str(fasta(tmp_path / "many.fasta", PEPTIDES * 2)))
    assert any("50% of the sequences are repeats" in note for note in many.notes)


def test_one_long_text_is_cut_into_pieces(tmp_path):
    text = "the quick brown fox\njumps over the lazy dog\n" * 30
    (tmp_path / "book.txt").write_text(text)
    data = open_data(f"{tmp_path}/book.txt?window=16")
    codec = data.fitted
    pieces = [codec.text(row) for part in (data.train, data.heldout) for row in part.rows]
    assert "".join(pieces) == text[: len(text) // 16 * 16]
    assert not codec.ends and codec.tokens == len(set(text))
    assert len(data.heldout) == round(0.1 * len(pieces))
    with pytest.raises(DataError, match="too few for pieces of 9999"):
        open_data(f"{tmp_path}/book.txt?window=9999")


@pytest.mark.parametrize(
    ("texts", "name"),
    [(["ACGT", "ttga"], "dna"), (["ACGU", "GUA"], "rna"), (["ACDEF", "WYV"], "protein"), (["hello", "you"], "own")],
)
def test_an_alphabet_is_guessed(texts, name):
    assert guessed(texts) == name


def test_smiles_are_cut_into_atoms_bonds_and_rings():
    assert cut("smiles", "C[C@@H](Br)Cc1ccc(Cl)cc1%12") == [
        *("C", "[C@@H]", "(", "Br", ")", "C", "c", "1", "c", "c", "c", "(", "Cl", ")", "c", "c", "1", "%12"),
    ]
    with pytest.raises(LetterError) as error:
        cut("smiles", "CC[NH+")
    assert error.value.position == 3


def test_bytes_hold_any_text():
    alphabet = Alphabet.named("bytes", [])
    text = "naïve — 日本"
    assert alphabet.text(alphabet.tokens(text)) == text
    assert len(alphabet) == 256


def test_bad_sequences_are_passed_over_up_to_a_limit_and_named(tmp_path):
    path = fasta(tmp_path / "p.fasta", [*PEPTIDES[:30], "ACXZ", *PEPTIDES[30:]])
    data = open_data(str(path))
    (bad,) = data.skipped
    assert "line 91, >s30" in bad.reason and "'X' at position 3" in bad.reason
    assert texts_of(data) == set(PEPTIDES)
    path = fasta(tmp_path / "q.fasta", [*PEPTIDES, "AC-D", "AC1"])
    with pytest.raises(DataError, match=r"2 of 62 sequences.*'-' at position 3.*--max-bad 2"):
        open_data(f"{path}?alphabet=protein")
    assert len(open_data(f"{path}?alphabet=protein", max_bad=2).skipped) == 2
    assert open_data(f"{path}?alphabet=own").fitted.alphabet.name == "own"


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("e.fasta", "", "is empty"),
        ("h.fasta", "ACGT\n>a\nAC\n", "line 1: in a FASTA file a line that begins with >"),
        ("n.fasta", ">a\n>b\n>c\nAC\n", "the sequence is empty"),
        ("o.txt", "ACGT\n", "training needs at least 2"),
        ("r.csv", "s\nAC,GT\n", "line 2: 2 cells, and 1 columns"),
        ("l.txt", "A" * 1025 + "\nACG\n", r"the longest sequence has 1,025 letters.*longest=512"),
    ],
)
def test_bad_files_get_one_clear_paragraph(tmp_path, name, body, words):
    (tmp_path / name).write_text(body)
    with pytest.raises(DataError, match=words):
        open_data(f"sequences:{tmp_path}/{name}")


def test_files_that_are_missing_or_no_text_are_refused(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        open_data(f"{tmp_path}/none.fasta")
    (tmp_path / "b.fasta").write_bytes(b">a\nAC\n\xff\xfe\n")
    with pytest.raises(DataError, match="line 3: this is no text in UTF-8"):
        open_data(f"{tmp_path}/b.fasta")
    (tmp_path / "z.fasta.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="could not be read"):
        open_data(f"{tmp_path}/z.fasta.gz")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("alphabet=dnaa", "dna"),
        ("longest=x", "number of letters"),
        ("colour=1", "option of sequences"),
        ("column=a", "CSV"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, option, words):
    with pytest.raises(UsageError, match=words):
        open_data(f"{fasta(tmp_path / 'p.fasta')}?{option}")


def test_longest_leaves_out_longer_ones_and_makes_room(tmp_path):
    path = fasta(tmp_path / "p.fasta")
    short = open_data(f"{path}?longest=5")
    assert texts_of(short) == {text for text in PEPTIDES if len(text) <= 5}
    assert "are left out" in " ".join(short.notes)
    assert open_data(f"{path}?longest=30").fitted.shape == (30,)


def codec(ends: bool = True) -> SequenceCodec:
    return SequenceCodec(Alphabet.named("dna", []), 6, ends)


def test_rows_end_and_are_padded_and_come_back():
    assert codec().row("ACG") == [0, 1, 2, 4, 5, 5]
    assert codec().row("ACGTAC") == [0, 1, 2, 3, 0, 1]
    for text in ("", "A", "ACGTAC"):
        assert codec().text(codec().row(text)) == text
    assert codec().text([0, 4, 1, 2, 5, 5]) == "A"  # what follows the first end is no letter
    rows = codec().rows(["A", "", "ACGTAC"])
    assert codec().letters(rows).tolist() == [1, 0, 6]


def test_an_infill_pattern_gives_letters_and_leaves_others_free():
    assert codec().infilled("A??T").tolist() == [0, -5, -5, 3, 4, 5]
    assert codec().infilled("?A*").tolist() == [-5, 0, -1, -1, -1, -1]
    assert codec(False).infilled("ACG???").tolist() == [0, 1, 2, -5, -5, -5]
    with pytest.raises(UsageError, match="has 7 letters, and this model draws up to 6"):
        codec().infilled("A??????")
    with pytest.raises(UsageError, match=r"'X' at position 4, which the model's alphabet \(dna\)"):
        codec().infilled("A?CX")
    with pytest.raises(UsageError, match="every sequence of this model has 6"):
        codec(False).infilled("A?C")
    own = SequenceCodec(Alphabet.of_letters("ab?*"), 4, False)
    assert own.infilled(r"a\?\*?").tolist() == [0, 2, 3, -5]


def test_a_codec_comes_back_from_a_bundle_and_bad_ones_are_refused():
    found = codec().to_dict()
    assert codec_from_dict(found) == codec()
    for change in ({"length": 0}, {"letters": []}, {"letters": ["A", "A"]}, {"alphabet": "x"}, {"ends": 1}):
        with pytest.raises(BundleError):
            codec_from_dict(found | change)
    with pytest.raises(BundleError, match="not its own"):
        codec_from_dict(found | {"letters": ["A", "C", "G", "U"]})


def test_other_data_are_told_why_they_do_not_fit():
    assert codec().mismatch(codec()) == ""
    other = SequenceCodec(Alphabet.named("rna", []), 6, True)
    assert "their alphabet is rna, and the model's dna" in codec().mismatch(other)
    assert "?longest=6" in codec().mismatch(SequenceCodec(Alphabet.named("dna", []), 9, True))


def test_files_of_samples_are_read_back(tmp_path):
    texts = np.array(["ACGT", "A", "TTTT"])
    for name in ("s.fasta", "s.txt", "s.csv"):
        write_sequences(tmp_path / name, texts, first=5)
        assert read_texts(tmp_path / name).tolist() == texts.tolist()
    assert (tmp_path / "s.fasta").read_text().startswith(">5\nACGT\n")
    spaced = np.array(["a b", "c\nd"])
    write_sequences(tmp_path / "t.csv", spaced)
    assert read_texts(tmp_path / "t.csv").tolist() == spaced.tolist()
    with pytest.raises(UsageError, match="spaces or line breaks"):
        write_sequences(tmp_path / "t.txt", spaced)
    with pytest.raises(UsageError, match="written as"):
        write_sequences(tmp_path / "t.png", texts)


def test_records_say_where_they_stand(tmp_path):
    (tmp_path / "a.txt").write_text("AC\n\nGT\n")
    assert [record.where for record in read_records(tmp_path / "a.txt")] == ["line 1", "line 3"]
