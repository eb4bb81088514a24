"""Messages with several intents, made of messages with one, for multi-label classification.

    python benchmarks/several_intents.py DATA OUT [DOMAIN …]

DATA holds train.tsv, val.tsv and test.tsv with the columns text, label and domain (clinc150). In each, apart from the
others, the texts of these domains (all unless given) are put in a random order (seed 0) and joined in turn to messages
of one, two or three, each number as likely; where an intent would come twice, a new message begins. So every text is
used once, and no text of one file gets into another. OUT gets the same files with the columns text and labels (a|b|c).
"""

import sys
from pathlib import Path

import numpy as np

from headwise.reading.tables import read
from headwise.reading.writing import write


def joined(rows: list[tuple[str, str]], random: np.random.Generator) -> list[tuple[str, str]]:
    """Texts with their intents to messages with several, in a random order."""
    messages: list[list[tuple[str, str]]] = []
    full = 0  # how many texts the last message is to hold
    for row in random.permutation(len(rows)):
        text, intent = rows[row]
        if not messages or len(messages[-1]) == full or intent in {other for _, other in messages[-1]}:
            messages.append([])
            full = random.integers(1, 4)
        messages[-1].append((text, intent))
    return [(". ".join(text for text, _ in one), "|".join(intent for _, intent in one)) for one in messages]


def main(data: Path, out: Path, *domains: str) -> None:
    random = np.random.default_rng(0)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("train", "val", "test"):
        table = read(data / f"{name}.tsv").table
        rows = zip(*(table[column].to_pylist() for column in ("text", "label", "domain")), strict=True)
        kept = [(text, intent) for text, intent, domain in rows if intent != "oos" and domain in (domains or {domain})]
        messages = joined(kept, random)
        text, labels = (list(column) for column in zip(*messages, strict=True))
        write(out / f"{name}.tsv", {"text": text, "labels": labels})
        intents = sum(one.count("|") + 1 for one in labels)
        print(f"{name}: {len(messages):,} messages, {intents:,} intents")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
