"""Fill-mask: it learns hidden words by heart, says what transformers' pipeline says, and refuses what asks nothing."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.families.checkpoint import read_model
from headwise.judging.masks import score
from headwise.reading.batches import NOWHERE
from headwise.reading.text import TextTokenizer
from headwise.tasks.fill_mask import TOP, FillMask
from headwise.training.asked import Asked
from headwise.trust import compared

MASKS = {"bert": "[MASK]", "roberta": "<mask>"}
FAMILIES = list(MASKS)


@pytest.fixture(scope="module")
def directory(directory_of, redraw, tmp_path_factory):
    """A tiny masked language model with redrawn weights, and the tokenizer that knows the films."""
    import transformers

    made = {}

    def of(family):
        if family not in made:
            place = shutil.copytree(directory_of(family), tmp_path_factory.mktemp(f"masks-{family}") / "model")
            kind = {"bert": "Bert", "roberta": "Roberta"}[family]
            config = getattr(transformers, f"{kind}Config").from_pretrained(place)
            redraw(getattr(transformers, f"{kind}ForMaskedLM")(config)).save_pretrained(place)
            made[family] = place
        return made[family]

    return of


def texts_of(family):
    mask = MASKS[family]
    return [f"a {mask} film , warm and {mask}", f"dull and {mask}", f"{mask} plays"]


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_filled_as_transformers_fills_them(family, directory):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    place, texts = directory(family), texts_of(family)
    answers = headwise.load(place).predict(texts)
    theirs, tokenizer = AutoModelForMaskedLM.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(place)
    assert [len(answer["masks"]) for answer in answers] == [2, 1, 1]
    for text, answer in zip(texts, answers, strict=True):
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            logits = theirs(**ids).logits[0][ids["input_ids"][0] == tokenizer.mask_token_id]
        scores, words = logits.softmax(-1).topk(TOP)
        found = [[one["score"] for one in filled] for filled in answer["masks"]]
        assert np.allclose(found, scores, rtol=1e-3, atol=1e-6)
        spelled = [[tokenizer.decode([word]).strip() for word in row] for row in words]
        assert [[one["word"] for one in filled] for filled in answer["masks"]] == spelled


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_reloaded_it_says_exactly_the_same_and_transformers_opens_it(family, directory, tmp_path):
    from transformers import AutoModelForMaskedLM

    model, texts = headwise.load(directory(family)), texts_of(family)
    model.save(tmp_path / "again")
    assert headwise.load(tmp_path / "again").predict(texts) == model.predict(texts)
    ours, theirs = (AutoModelForMaskedLM.from_pretrained(place) for place in (tmp_path / "again", directory(family)))
    ids = torch.arange(5, 30)[None]
    with torch.no_grad():
        assert torch.allclose(ours.eval()(ids).logits, theirs.eval()(ids).logits, atol=1e-5)


def test_a_pair_is_filled_too(directory):
    (answer,) = headwise.load(directory("bert")).predict([("a fine film", "warm and [MASK]")])
    assert len(answer["masks"]) == 1


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (
            ["a [MASK] film", "a fine film"],
            r"text 2, 'a fine film', has no \[MASK\]; write it where a word is missing",
        ),
        (["film " * 99 + "[MASK]"], r"has no \[MASK\] in the 66 tokens the model reads"),
        ("a [MASK] film", "expected a list of texts, found one string"),
    ],
)
def test_texts_with_nothing_to_fill_are_refused(texts, told, directory):
    with pytest.raises(InputError, match=told):
        headwise.load(directory("bert")).predict(texts)


def test_what_it_cannot_do_is_refused_in_a_line(directory, films, table, tmp_path):
    model, file = headwise.load(directory("bert")), table(tmp_path / "films.tsv", films)
    with pytest.raises(InputError, match="a model of fill-mask has no labels"):
        model.probabilities(["a [MASK] film"])
    with pytest.raises(InputError, match="a model of fill-mask gives words, which are not explained"):
        model.explain("a [MASK] film")
    how = {"task": "fill-mask", "model": str(directory("bert")), "quiet": True}
    with pytest.raises(InputError, match="class weights and label smoothing are of classes, which fill-mask has none"):
        headwise.train(file, class_weights="balanced", **how)
    with pytest.raises(InputError, match="metric 'accuracy_at_5': expected log_likelihood, accuracy"):
        headwise.train(file, metric="accuracy_at_5", **how)
    pairs = table(tmp_path / "pairs.tsv", [(text, text, label) for text, label in films], "text_a", "text_b", "label")
    with pytest.raises(InputError, match=r"learns from single texts, found text_a and text_b; name one with --text-"):
        headwise.train(pairs, **how)


def test_another_table_for_the_words_is_refused(directory, tmp_path):
    place = shutil.copytree(directory("bert"), tmp_path / "model")
    config = json.loads((place / "config.json").read_text()) | {"tie_word_embeddings": False}
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: tie_word_embeddings is False, supported is True"):
        headwise.load(place)


def test_a_masked_language_model_is_still_a_start_for_a_classifier(directory, films, table, tmp_path):
    file = table(tmp_path / "films.tsv", films)
    how = {"epochs": 1, "with_baselines": False, "quiet": True}
    assert headwise.train(file, file, model=str(directory("bert")), **how).labels == ("bad", "good")


def test_the_command_line_fills_texts_and_tables(directory, command, table, tmp_path):
    place, texts = directory("bert"), texts_of("bert")
    status, out, _ = command("predict", place, *texts)
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines == headwise.load(place).predict(texts)
    rows = table(tmp_path / "rows.tsv", [(text,) for text in texts], "text")
    for name in ("answers.jsonl", "answers.csv"):
        status, _, said = command("predict", place, "--input", rows, "--output", tmp_path / name)
        assert status == 0, said
    written = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [one["masks"] for one in written] == [one["masks"] for one in lines]
    from headwise.reading.tables import read

    assert [json.loads(one) for one in read(tmp_path / "answers.csv").table["masks"].to_pylist()] == [
        one["masks"] for one in lines
    ]


# Trained on texts

FAST = {
    "task": "fill-mask",
    "learning_rate": 5e-3,
    "batch_size": 8,
    "epochs": 200,
    "eval_steps": 50,
    "patience": 0,
    "dropout": 0.0,
    "precision": "float32",
    "quiet": True,
}


def test_words_are_learnt_above_frozen_layers(directory, films, table, tmp_path):
    file = table(tmp_path / "texts.tsv", [(text,) for text, _ in films], "text")
    model = headwise.train(file, file, model=str(directory("bert")), **FAST | {"epochs": 20, "frozen_layers": 1})
    first, last = (model.report.verdicts[at].scores.log_likelihood for at in (0, -1))
    assert last > first + 0.1


@pytest.fixture(scope="module")
def run_of(directory, films, table, tmp_path_factory):
    """Train once for each family: the model in memory, its directory, its table."""
    made = {}

    def run(family):
        if family not in made:
            place = tmp_path_factory.mktemp(f"trained-{family}")
            file = table(place / "texts.tsv", [(text,) for text, _ in films], "text")
            model = headwise.train(file, file, out=place / "run", model=str(directory(family)), **FAST)
            made[family] = model, place / "run", file
        return made[family]

    return run


def test_models_that_are_asked_for_other_tokens_are_not_compared(run_of):
    (bert, _, file), (roberta, _, _) = run_of("bert"), run_of("roberta")
    assert compared(bert, bert, file, Asked())[0].rows == 8
    with pytest.raises(InputError, match="asked for hidden tokens, which are others"):
        compared(bert, roberta, file, Asked())


@pytest.mark.parametrize("family", FAMILIES)
class TestBattery:
    def test_it_learns_eight_rows_by_heart(self, family, run_of):
        model, _, file = run_of(family)
        scores, before = model.evaluate(file), model.report.verdicts[0].scores
        assert model.report.verdicts[-1].scores == scores
        assert scores.accuracy > 0.6 > 0.2 > before.accuracy
        assert scores.perplexity == pytest.approx(np.exp(-scores.log_likelihood)) and scores.perplexity < 5
        assert scores.rows == 8 <= scores.masks
        assert model.report.verdicts[0].name.endswith("before fine-tuning")
        (answer,) = model.predict([f"a fine film , {MASKS[family]} and funny"])
        assert answer["masks"][0][0]["word"] == "warm"

    def test_reloaded_it_says_exactly_the_same(self, family, run_of):
        model, place, file = run_of(family)
        again = headwise.load(place)
        assert again.task == model.task == FillMask()
        assert again.predict(texts_of(family)) == model.predict(texts_of(family))
        assert again.evaluate(file) == model.evaluate(file)

    def test_transformers_opens_the_directory_with_the_same_logits(self, family, run_of):
        from transformers import AutoModelForMaskedLM, AutoTokenizer

        model, place, _ = run_of(family)
        theirs, tokenizer = AutoModelForMaskedLM.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(place)
        for text, answer in zip(texts_of(family), model.predict(texts_of(family)), strict=True):
            ids = tokenizer(text, return_tensors="pt")
            with torch.no_grad():
                logits = theirs(**ids).logits[0][ids["input_ids"][0] == tokenizer.mask_token_id]
            scores = [[one["score"] for one in filled] for filled in answer["masks"]]
            assert np.allclose(scores, logits.softmax(-1).topk(TOP)[0], rtol=1e-3, atol=1e-6)

    def test_its_encoder_is_a_start_for_other_tasks(self, family, run_of, films, table, tmp_path):
        _, place, _ = run_of(family)
        file = table(tmp_path / "films.tsv", films)
        how = {"epochs": 1, "with_baselines": False, "quiet": True}
        assert headwise.train(file, file, model=str(place), **how).labels == ("bad", "good")


def test_what_the_run_leaves(run_of):
    place = run_of("bert")[1]
    card, metrics = (json.loads((place / name).read_text()) for name in ("headwise.json", "metrics.json"))
    assert card["task"] == "fill-mask" and set(card["metrics"]) == {"log_likelihood", "accuracy"}
    assert {"perplexity", "masks"} <= set(metrics["verdicts"][-1])
    told = (place / "README.md").read_text()
    assert "pipeline_tag: fill-mask" in told and 'predict . "a [MASK] text"' in told and "AutoModelForMaskedLM." in told
    assert "Tokens taken for others" in (place / "report.html").read_text()


def test_the_three_verbs_need_no_label(directory, films, table, tmp_path, command):
    file = table(tmp_path / "texts.tsv", [(text,) for text, _ in films], "text")
    held_out = table(tmp_path / "held.tsv", [(text,) for text, _ in films], "text")
    words = ["--task", "fill-mask", "--valid", held_out, "--model", directory("bert"), "--epochs", "2"]
    labelled = table(tmp_path / "films.tsv", films)  # a label is not read
    for one in (file, labelled):
        status, said, notes = command("train", one, *words, "--overwrite", "--out", tmp_path / "run")
        assert status == 0, notes
        assert "perplexity" in said and "task: fill-mask" in notes and "label column" not in notes
    status, said, notes = command("evaluate", tmp_path / "run", held_out, "--json")
    assert status == 0, notes
    assert json.loads(said)["verdicts"][0]["rows"] == 8
    assert command("predict", tmp_path / "run", "a [MASK] film")[0] == 0


def test_without_a_head_one_is_drawn_which_is_said(directory_of, films, table, capsys):
    from headwise.reading.records import from_columns

    texts = from_columns({"text": [text for text, _ in films]})
    how = FAST | {"epochs": 1, "quiet": False}
    headwise.train(texts, texts, model=str(directory_of("bert")), **how)
    assert "drawn anew from seed 42" in capsys.readouterr().err


# What is hidden


@pytest.fixture(scope="module")
def read(directory):
    """Texts made ready, as a table of them would be."""
    place = directory("bert")
    tokenizer = TextTokenizer.read(place, 66, read_model(place, purpose="ForMaskedLM").vocab_size)

    def ready(texts):
        return FillMask().examples(tokenizer, texts, np.zeros((len(texts), 0))), tokenizer

    return ready


def test_of_ten_chosen_tokens_eight_are_masked_and_one_is_another(read, films):
    examples, tokenizer = read([text for text, _ in films] * 400)
    whole, targets, epoch = examples.layout.tokens, examples.targets.values, FillMask().of_epoch(examples, 1, 2)
    picked, now = epoch.targets.values != NOWHERE, epoch.tokens.ids
    special = np.isin(whole.ids, tokenizer.special_ids)
    assert not picked[special].any() and (epoch.targets.values[picked] == whole.ids[picked]).all()
    assert (now[~picked] == whole.ids[~picked]).all() and (epoch.asked == picked).all()
    assert picked.sum() / (~special).sum() == pytest.approx(0.15, abs=0.03)  # one at least of each
    masked, kept = now[picked] == tokenizer.mask_id, now[picked] == whole.ids[picked]
    assert masked.mean() == pytest.approx(0.8, abs=0.02) and kept.mean() == pytest.approx(0.1, abs=0.02)
    assert not np.isin(now[picked & (now != tokenizer.mask_id)], tokenizer.special_ids).any()
    assert not np.array_equal(picked, targets != NOWHERE)


def test_masks_follow_from_seed_and_epoch(read, films):
    examples, _ = read([text for text, _ in films])
    task, ids = FillMask(), lambda seed, epoch: FillMask().of_epoch(examples, seed, epoch).tokens.ids.tolist()
    assert ids(1, 0) == ids(1, 0) != ids(1, 1) and ids(1, 0) != ids(2, 0)
    again, _ = read([text for text, _ in films])
    assert again.tokens.ids.tolist() == examples.tokens.ids.tolist()
    assert task.of_epoch(task.of_epoch(examples, 1, 0), 1, 1).tokens.ids.tolist() == ids(1, 1)


def test_a_text_of_unknown_words_counts_for_nothing(read, films):
    examples, _ = read(["q z q", films[0][0]])
    assert (examples.targets.values != NOWHERE)[examples.tokens.starts[1] :].any()
    assert not (examples.targets.values != NOWHERE)[: examples.tokens.starts[1]].any()
    with pytest.raises(InputError, match="no text has a token the model knows"):
        read(["q z q"])


def test_long_texts_are_learned_in_windows(read, films):
    examples, _ = read(["film " * 200, films[0][0]])
    assert examples.origin.tolist() == [0] * (len(examples) - 1) + [1] and len(examples) > 3
    assert not examples.tokens.cut.any()
    answers = FillMask().decide(examples, torch.zeros(int(examples.asked.sum()), 2))
    assert answers.shape == (2, 3) and answers[0, 0] >= 30


def test_interrupted_and_resumed_it_ends_in_the_same_bits(directory, films, table, tmp_path, monkeypatch):
    from headwise import finetune

    file = table(tmp_path / "texts.tsv", [(text,) for text, _ in films], "text")
    how = FAST | {"epochs": 6, "eval_steps": 2, "batch_size": 4, "dropout": 0.1, "with_baselines": False}
    how |= {"model": str(directory("bert"))}
    whole = headwise.train(file, file, out=tmp_path / "whole", **how)
    save, count = finetune.save_checkpoint, iter(range(9))

    def stop(*given):
        save(*given)
        if next(count) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(finetune, "save_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        headwise.train(file, file, out=tmp_path / "run", **how)
    monkeypatch.undo()
    again = headwise.train(file, file, out=tmp_path / "run", resume=True, **how)
    ours, theirs = (one.checkpoint.model.state_dict() for one in (whole, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [line.get("loss") for line in whole.report.history] == [line.get("loss") for line in again.report.history]


def test_scores_are_over_masks():
    found = score(np.array([[2, 1, 3.0], [2, 2, 1.0]]))
    assert (found.accuracy, found.log_likelihood, found.masks, found.rows) == (0.75, -1.0, 4, 2)
    assert found.perplexity == pytest.approx(np.e)
    with pytest.raises(InputError, match="no word to hide"):
        score(np.zeros((2, 3)))
