"""A finished run opened by transformers: how far are its logits from ours?

    python benchmarks/logits.py RUN TABLE [ROWS]

Reads the first ROWS rows (256) of the table, a text or a pair each, and prints the largest difference of two logits.
"""

from __future__ import annotations

import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import headwise
from headwise.training.asked import Asked
from headwise.training.inference import predicted


def main() -> None:
    run, table, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 256
    ours = headwise.load(run)
    texts = ours.unlabelled(table, Asked())[0][:rows]
    logits, _ = predicted(ours.checkpoint.model, ours.task, ours.task.examples(ours.tokenizer, texts))

    tokenizer, theirs = AutoTokenizer.from_pretrained(run), AutoModelForSequenceClassification.from_pretrained(run)
    theirs.eval()
    pieces = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            some = texts[start : start + 32]
            columns = [some] if isinstance(some[0], str) else [list(side) for side in zip(*some, strict=True)]
            batch = tokenizer(*columns, truncation=True, padding=True, return_tensors="pt")
            pieces.append(theirs(**batch).logits)
    difference = (torch.cat(pieces) - logits).abs().max().item()
    print(f"{run}: {len(texts)} rows of {table}, largest difference of two logits {difference:.1e}")


if __name__ == "__main__":
    main()
