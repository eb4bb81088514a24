"""Location tokens of CoNLL-2003 as a table: does a location begin here (B-LOC) or go on (I-LOC)?

    python examples/conll_locations.py CONLL_FOLDER OUT_FOLDER

Reads {train,dev,test}.jsonl with one sentence a line, {"tokens": [...], "tags": [...]}, tags in IOB2; writes
{train,dev,test}.tsv with the token, its sentence in which the token stands in brackets, and the tag.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from headwise.reading.writing import write


def location_tokens(file: Path) -> Iterator[tuple[str, str, str]]:
    """(token, sentence with the token in brackets, tag) for every token of a location."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            sentence = json.loads(line)
            tokens = sentence["tokens"]
            for i, tag in enumerate(sentence["tags"]):
                if tag in ("B-LOC", "I-LOC"):
                    yield tokens[i], " ".join([*tokens[:i], "[", tokens[i], "]", *tokens[i + 1 :]]), tag


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev", "test"):
        token, sentence, tag = zip(*location_tokens(source / f"{split}.jsonl"), strict=True)
        write(target / f"{split}.tsv", {"token": token, "sentence": sentence, "label": tag})
        print(f"{target / split}.tsv: {len(tag):,} tokens, {tag.count('B-LOC'):,} B-LOC, {tag.count('I-LOC'):,} I-LOC")


if __name__ == "__main__":
    main()
