"""Methods of attribution compared by their receipts, and integrated gradients with captum's.

    python benchmarks/insight.py RUN TABLE [--rows 200] [--seed 0] [--randomise] [--captum]

Explains the model's own answer to some rows of the table, drawn by the seed. Prints for each method, and for an
attribution drawn at random: median seconds a text, means with 95 % bootstrap intervals of comprehensiveness,
sufficiency, deletion and insertion area, and the share of texts whose receipt is trusted.
--randomise: the same where the encoder's weights are redrawn from N(0, 0.02²), three times.
--captum: the largest relative difference to captum's integrated gradients on the same model opened by transformers.
"""

from __future__ import annotations

import argparse
import copy
import platform
import time
from collections import defaultdict
from importlib.metadata import version

import numpy as np
import torch

import headwise
from headwise.core.transformer import initialise
from headwise.insight import attribution as methods
from headwise.insight.attribution import METHODS, attribution
from headwise.insight.faithfulness import FEWEST, Perturbed, receipt
from headwise.insight.question import Pieces, Question
from headwise.insight.subject import of_labels
from headwise.insight.words import pieces
from headwise.training.asked import Asked

DRAWS = 2000
COLUMNS = ("comprehensiveness", "sufficiency", "deletion area", "insertion area", "trusted")


def answer(subject, own: Pieces) -> Question:
    """The question why the model says what it says."""
    with torch.inference_mode():
        return Question(int(subject.chances(subject.model(*own.packed())).argmax()))


def measured(subject, texts: list[Pieces], seed: int) -> dict[str, list[tuple[float, ...]]]:
    """For each method and text: seconds, then COLUMNS."""
    found = defaultdict(list)
    subject.model.eval()
    for row, own in enumerate(texts):
        question = answer(subject, own)
        trial = Perturbed(subject, own, question)
        for method in (*METHODS, "random"):
            began = time.perf_counter()
            if method == "random":
                words = np.random.default_rng([seed, row]).normal(size=len(own.words))
            else:
                words = attribution(method, subject.model, own, subject.towards(question)).words
            seconds = time.perf_counter() - began
            its = receipt(subject, own, question, words, seed=seed + row, perturbed=trial)
            areas = its.curves.deletion_area, its.curves.insertion_area
            found[method].append((seconds, its.comprehensiveness, its.sufficiency, *areas, float(its.trusted)))
    return found


def table(found: dict[str, list[tuple[float, ...]]], seed: int) -> str:
    """A Markdown table of means with 95 % bootstrap intervals over texts."""
    lines = [f"| method | seconds a text (median) | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|"]
    for method, rows in found.items():
        numbers = np.array(rows)
        drawn = np.random.default_rng(seed).integers(len(numbers), size=(DRAWS, len(numbers)))
        low, high = np.quantile(numbers[drawn].mean(1), [0.025, 0.975], axis=0)
        cells = [f"{mean:.3f} ({a:.3f} to {b:.3f})" for mean, a, b in zip(numbers.mean(0), low, high, strict=True)]
        lines.append(f"| {method} | {np.median(numbers[:, 0]):.4f} | {' | '.join(cells[1:])} |")
    return "\n".join(lines)


def furthest_from_captum(run: str, subject, texts: list[Pieces]) -> float:
    """The largest difference of two tokens' integrated gradients, as a part of the text's largest one."""
    from captum.attr import IntegratedGradients
    from transformers import AutoModelForSequenceClassification

    theirs = AutoModelForSequenceClassification.from_pretrained(run).eval()
    takes_types = "token_type_ids" in type(theirs).forward.__code__.co_varnames
    furthest = 0.0
    for own in texts:
        question = answer(subject, own)
        start, whole = methods.baseline(subject.model, own)[None], methods.embedded(subject.model, own)[None]
        types = torch.from_numpy(own.types)[None]

        def forward(vectors, types=types):
            more = {"token_type_ids": types.expand(len(vectors), -1)} if takes_types else {}
            return theirs(inputs_embeds=vectors, **more).logits

        how = {"n_steps": methods.STEPS, "method": "gausslegendre", "internal_batch_size": 25}
        reference = IntegratedGradients(forward).attribute(whole, start, target=question.label, **how)
        reference = reference.sum(-1)[0].detach().numpy()
        ours = attribution("integrated_gradients", subject.model, own, question).positions
        furthest = max(furthest, float(np.abs(ours - reference).max() / np.abs(reference).max()))
    return furthest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("table")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--randomise", action="store_true")
    parser.add_argument("--captum", action="store_true")
    asked = parser.parse_args()
    ours = headwise.load(asked.run)
    model, task = ours.checkpoint.model, ours.classification
    subject = of_labels(model, task)
    every = ours.unlabelled(asked.table, Asked())[0]
    rows = np.random.default_rng(asked.seed).permutation(len(every))[: asked.rows]
    texts = [pieces(ours.tokenizer, every[row]) for row in rows]
    texts = [own for own in texts if len(own.words) >= FEWEST]
    sizes = (
        f"{np.mean([len(own.ids) for own in texts]):.0f} tokens and {np.mean([len(own.words) for own in texts]):.0f}"
    )
    print(f"{asked.run}, {asked.table}: {len(texts)} of {len(rows)} rows drawn with seed {asked.seed}, which have")
    print(f"{FEWEST} words or more; on average {sizes} words")
    packages = ("headwise", "torch", "numpy", *(("captum", "transformers") if asked.captum else ()))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in packages), flush=True)
    print(f"\n{table(measured(subject, texts, asked.seed), asked.seed)}", flush=True)
    if asked.captum:
        print(f"\nlargest relative difference to captum: {furthest_from_captum(asked.run, subject, texts):.1e}")
    for draw in range(3 if asked.randomise else 0):
        drawn = copy.deepcopy(model)
        initialise(drawn.encoder, torch.Generator().manual_seed(draw))
        found = measured(of_labels(drawn, task), texts, asked.seed)
        refused = ", ".join(f"{name} {1 - np.mean([row[-1] for row in each]):.1%}" for name, each in found.items())
        print(f"encoder redrawn with seed {draw}: refused {refused}", flush=True)


if __name__ == "__main__":
    main()
