"""Opening sequences: their alphabet, their tokens, their conditions, and what is held out.

    seqs.fasta?alphabet=dna              an alphabet of `gendi.data.sequences.alphabet`, in the place of a guess
    seqs.fasta?letters=ACDEF-            letters of your own
    seqs.fasta?longest=200               longer sequences are left out; shorter ones have room for as many
    sequences:peptides.csv?column=seq    a column of a CSV
    book.txt?window=128                  one long text, cut into pieces; the last tenth is held out

Sequences that cannot be read are passed over, up to 1% of them or `max_bad`. What is held out is a fifth of the
*different* sequences, at most 5000 rows, so that no held-out sequence was trained on. Where more than a tenth of the
rows are repeats, rows are held out instead: without a common sequence the two parts would have different distributions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.columns import NoConditionError, condition_name, from_words
from gendi.data.sequences.alphabet import ALPHABETS, MOST, Alphabet, LetterError, cut, guessed
from gendi.data.sequences.codec import SequenceCodec
from gendi.data.sequences.files import Record, ending, read_records, read_text
from gendi.data.split import HELDOUT_ROWS_MOST, HELDOUT_ROWS_SHARE, Loaded, Skipped, Split
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.randomness import stream
from gendi.errors import DataError, UsageError, unknown_name

OPTIONS = ("alphabet", "letters", "longest", "window", "column")
USUAL_LONGEST = 1024
"""The most letters of a sequence for which nobody has to say `longest`."""
TEXT_HELDOUT = 0.1
REPEATS_MOST = 0.1


def read_sequences(place: str, options: Mapping[str, str], max_bad: int | None = None) -> Loaded:
    """Open a file of sequences.

    Raises:
        DataError: a file that is missing or bad, too many bad sequences, or fewer than two good ones.
        UsageError: an option that sequences do not have, or a value that it cannot have.
    """
    for name in options:
        if name not in OPTIONS:
            raise unknown_name("option of sequences", name, OPTIONS)
    path = Path(place).expanduser()
    window, longest = (_number(options, name) for name in ("window", "longest"))
    if window is not None:
        return _of_a_text(path, window, options)
    records = read_records(path, options.get("column", ""))
    named = _named(options, [r.text for r in records if r.text], path)
    good, bad = _sorted_out(records, named, max_bad, path)
    texts = [record.text for record in good]
    lengths = np.array([len(named.tokens(text)) for text in texts])
    notes = [f"{path}: alphabet {named.in_words()}"] if "alphabet" not in options else []
    if longest is not None:
        kept = lengths <= longest
        if not kept.all():
            notes.append(f"{path}: {int((~kept).sum()):,} sequences of more than {longest} letters are left out")
            good = [record for record, keep in zip(good, kept, strict=True) if keep]
            texts, lengths = [record.text for record in good], lengths[kept]
    if len(texts) < 2:
        longer = len(records) - len(bad) - len(texts)
        why = f": {longer:,} have more than {longest} letters (?longest={longest})" if longer else ""
        raise DataError(
            f"{path} has {len(texts)} sequences that can be used, and training needs at least 2. The file has "
            f"{len(records):,} in all{why}."
        )
    most = int(lengths.max())
    if longest is None and most > USUAL_LONGEST:
        raise DataError(
            f"{path}: the longest sequence has {most:,} letters, and all are given room for as many. Say "
            f"{path}?longest=512 to leave longer ones out, or ?window=128 to cut one long text into pieces."
        )
    codec = SequenceCodec(named, longest or most, bool((lengths < (longest or most)).any()))
    conditions, specs, left_out = _conditions(good)
    rows = codec.rows(texts)
    train, test, repeated = _held_out(rows, conditions)
    if repeated:
        notes.append(f"{path}: {repeated:.0%} of the sequences are repeats, so held-out ones may be trained on too")
    return Loaded(
        train.rows,
        train.conditions,
        test,
        specs,
        left_out,
        skipped=bad,
        notes=tuple(notes),
        codec=codec,
        fingerprint=_fingerprint(codec, rows, conditions),
    )


def _number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65_536:
        raise UsageError(f"?{name}={text}: this is a number of letters, 1 to 65536.")
    return int(text)


def _named(options: Mapping[str, str], texts: Sequence[str], path: Path) -> Alphabet:
    """Return the alphabet that options name, or that the texts are of."""
    if letters := options.get("letters"):
        return Alphabet.of_letters(letters)
    usual = "smiles" if ending(str(path)) in (".smi", ".smiles") else guessed(texts)
    name = options.get("alphabet", usual)
    if name not in ALPHABETS:
        raise unknown_name("alphabet", name, ALPHABETS)
    good = []
    for text in texts:
        try:
            cut(name, text)
        except LetterError:
            continue  # it is counted among the bad ones
        good.append(text)
    found = Alphabet.named(name, good)
    if len(found) > MOST:
        raise DataError(
            f"{path} has {len(found):,} different letters, more than {MOST:,}: say ?alphabet=bytes, or name letters."
        )
    if not len(found):
        raise DataError(f"{path}: none of its sequences can be read as {name}. Say which alphabet they have.")
    return found


def _sorted_out(
    records: Sequence[Record], alphabet: Alphabet, max_bad: int | None, path: Path
) -> tuple[list[Record], tuple[Skipped, ...]]:
    """Return the sequences of the alphabet, and those that are none. Raises `DataError` if these are too many."""
    good, bad = [], []
    for record in records:
        try:
            if not record.text:
                raise UsageError("the sequence is empty")
            alphabet.cut(record.text)
        except LetterError as error:
            reason = f"{error.found!r} at position {error.position} is no letter of the alphabet {alphabet.in_words()}"
            bad.append(Skipped(path, f"{record.where}: {reason}"))
        except UsageError as error:
            bad.append(Skipped(path, f"{record.where}: {error}"))
        else:
            good.append(record)
    allowed = max(1, len(records) // 100) if max_bad is None else max_bad
    if len(bad) > allowed:
        raise DataError(
            f"{path}: {len(bad):,} of {len(records):,} sequences cannot be read, the first in {bad[0].reason}. Mend "
            f"them, name another alphabet ({path}?alphabet=protein, ?letters=ABC or ?alphabet=own for all that "
            f"occur), or let them be passed over by --max-bad {len(bad)}."
        )
    return good, tuple(bad)


def _conditions(
    records: Sequence[Record],
) -> tuple[dict[str, NDArray[Any]], tuple[ConditionConfig, ...], dict[str, str]]:
    """Return the conditions that are said of sequences: a value where all are numbers, else a class."""
    conditions, specs, left_out = {}, [], {}
    for name in dict.fromkeys(name for record in records for name in record.about):
        cells = [record.about.get(name, "") for record in records]
        try:
            spec, rows = from_words(condition_name(name), cells, "value" if _numbers(cells) else "class")
        except NoConditionError as error:
            left_out[name] = str(error)
            continue
        conditions[spec.name] = rows
        specs.append(spec)
    return conditions, tuple(specs), left_out


def _numbers(cells: Sequence[str]) -> bool:
    """Return whether cells are numbers, more than a few different ones."""
    known = {cell for cell in cells if cell}
    try:
        return len({float(cell) for cell in known}) > 10
    except ValueError:
        return False


def _held_out(rows: NDArray[Any], conditions: Mapping[str, NDArray[Any]]) -> tuple[Split, Split, float]:
    """Return training and held-out rows, and the share of repeats if sequences may be in both."""
    _, group = np.unique(rows, axis=0, return_inverse=True)
    group = group.reshape(-1)
    repeated = 1 - (int(group.max()) + 1) / len(rows)
    if repeated > REPEATS_MOST:
        group = np.arange(len(rows))
    count = int(group.max()) + 1
    order = stream(0, "heldout sequences").permutation(count)
    share = min(HELDOUT_ROWS_SHARE, HELDOUT_ROWS_MOST / len(rows))
    chosen = np.zeros(count, bool)
    chosen[order[: max(1, round(share * count))]] = True
    held = chosen[group] if count > 1 else np.arange(len(rows)) == 0
    parts = [Split(rows[keep], {name: array[keep] for name, array in conditions.items()}) for keep in (~held, held)]
    return parts[0], parts[1], repeated if repeated > REPEATS_MOST else 0.0


def _of_a_text(path: Path, window: int, options: Mapping[str, str]) -> Loaded:
    """Return pieces of one long text. Raises `DataError` for a text of fewer than two pieces in each part."""
    if "longest" in options or "column" in options:
        raise UsageError("?window cuts one text into pieces of its length: leave ?longest and ?column out.")
    text = read_text(path)
    name = options.get("alphabet", "own")
    if name not in ALPHABETS:
        raise unknown_name("alphabet", name, ALPHABETS)
    alphabet = Alphabet.of_letters(options["letters"]) if "letters" in options else Alphabet.named(name, [text])
    if len(alphabet) > MOST:
        raise DataError(f"{path} has {len(alphabet):,} different letters: say ?alphabet=bytes.")
    try:
        tokens = np.array(alphabet.tokens(text))
    except LetterError as error:
        line = text[: error.position - 1].count("\n") + 1
        raise DataError(
            f"{path}, line {line}: {error.found!r} is no letter of the alphabet {alphabet.in_words()}. Name another."
        ) from None
    count = len(tokens) // window
    held = round(TEXT_HELDOUT * count)
    if count - held < 2 or held < 1:
        raise DataError(f"{path} has {len(tokens):,} letters, too few for pieces of {window}: give a smaller ?window.")
    codec = SequenceCodec(alphabet, window, ends=False)
    rows = tokens[: count * window].reshape(count, window).astype(np.uint8 if codec.count <= 256 else np.int32)
    notes = (f"{path}: alphabet {alphabet.in_words()}; the last {held:,} pieces of {window} letters are held out",)
    return Loaded(
        rows[:-held],
        test=Split(rows[-held:]),
        notes=notes,
        codec=codec,
        fingerprint=_fingerprint(codec, rows, {}),
    )


def _fingerprint(codec: SequenceCodec, rows: NDArray[Any], conditions: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of the alphabet, the sequences and their conditions."""
    digest = hashlib.sha256(repr((codec.alphabet.letters, codec.length, codec.ends)).encode())
    for array in (rows, *(conditions[name] for name in sorted(conditions))):
        digest.update(f"{array.dtype.str}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
