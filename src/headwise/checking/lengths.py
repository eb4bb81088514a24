"""How much of the texts a model would cut off at each length, and how much of them its tokenizer does not know."""

from __future__ import annotations

import numpy as np

from headwise.checking.corpus import Corpus
from headwise.checking.findings import Finding
from headwise.reading.batches import Rows
from headwise.reading.text import TextTokenizer

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
FEW = 0.01  # of the rows: cut these and it hardly matters


def lengths(corpus: Corpus, rows: Rows, tokenizer: TextTokenizer, name: str) -> list[Finding]:
    """What is lost of these rows at each length; the tokenizer, of the model of this name, cuts at the longest."""
    tokens = tokenizer.encode([corpus.texts[row] for row in rows.tolist()])
    whole = tokens.lengths + tokens.cut  # [b]
    told, enough = [], None
    for length in LENGTHS:
        many, lost = (whole > length).mean(), np.maximum(whole - length, 0).sum() / whole.sum()
        told.append(f"{length}: {many:.1%} of rows, {lost:.1%} of tokens")
        if enough is None and many <= FEW:
            enough = length
        if not lost:
            break
    words = f"{whole.mean():.0f} tokens a row, the longest {whole.max():,} ({name}); cut off at {'; '.join(told)}"
    grave = enough is None or enough > 512
    remedy = f"--max-length {enough} cuts {FEW:.0%} of rows at most" if enough else "cut the texts into shorter ones"
    cut = tuple(rows[whole > 512].tolist()) if grave else ()
    found = [Finding("lengths", "warning" if grave else "note", words, remedy, cut)]
    share = tokens.unknown / max(len(tokens.ids), 1)
    if share >= 0.02:
        words = f"{share:.0%} of the tokens are unknown to {name}"
        found.append(
            Finding("unknown tokens", "warning", words, "it was not made for this language; try another --model")
        )
    return found
