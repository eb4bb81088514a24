"""Vectors of texts: the battery every task passes, the loss, duplicates, prefixes, bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import headwise
from headwise.errors import InputError
from headwise.export import export
from headwise.families.checkpoint import read_model
from headwise.families.pooling import POOLING
from headwise.job import prepared
from headwise.judging import ranking
from headwise.judging.ranking import PlattScaling
from headwise.model import Model
from headwise.progress import Narrator
from headwise.reading.batches import Batch
from headwise.reading.text import TextTokenizer
from headwise.search import Hit, Index, reranked
from headwise.tasks.feature_extraction import FeatureExtraction
from headwise.tasks.text_classification import TextClassification
from headwise.training.asked import Asked
from headwise.training.data import read_data

FAST = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 60, "eval_steps": 10, "patience": 99, "quiet": True}
KINDS = ["pairs", "labels", "scores"]
FAMILIES = ["bert", "roberta"]
PARTNERS = ["warm film", "too long", "music", "nothing", "好看", "无聊", "home", "the end"]


def rows_of(kind, films):
    """Rows as a file holds them, and the columns' names."""
    texts = [text for text, _ in films]
    pairs = list(zip(texts, PARTNERS, strict=True))
    if kind == "pairs":
        return pairs, ("text_a", "text_b")
    wrong = list(zip(texts, PARTNERS[3:] + PARTNERS[:3], strict=True))
    if kind == "labels":
        return [(*pair, 1) for pair in pairs] + [(*pair, 0) for pair in wrong], ("text_a", "text_b", "label")
    return [(*pair, round(5 - 0.7 * i, 2)) for i, pair in enumerate(pairs)], ("text_a", "text_b", "score")


@pytest.fixture(scope="module")
def run_of(directory_of, films, table, tmp_path_factory):
    """Train once for each family and kind: the model in memory, its directory, its table."""
    made = {}

    def run(family, kind):
        if (family, kind) not in made:
            place = tmp_path_factory.mktemp(f"{family}-{kind}")
            rows, names = rows_of(kind, films)
            file = table(place / "rows.tsv", rows, *names)
            extra = {"query_prefix": "film : ", "document_prefix": "home "} if kind == "labels" else {}
            extra |= {"task": "feature-extraction", "with_baselines": family == "bert"}
            model = headwise.train(file, file, out=place / "run", model=str(directory_of(family)), **FAST, **extra)
            made[family, kind] = model, place / "run", file
        return made[family, kind]

    return run


def vectors(model, texts):
    return np.array([answer["vector"] for answer in model.predict(texts)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
class TestBattery:
    def test_it_learns_its_rows_by_heart(self, family, kind, run_of):
        model, _, file = run_of(family, kind)
        metric = model.task.metric
        assert model.report.verdicts[-1].scores.named(metric) > 0.95
        assert model.evaluate(file).named(metric) > 0.95
        if kind == "pairs":
            assert model.evaluate(file).named("recall_at_1") == 1.0

    def test_reloaded_it_says_exactly_the_same(self, family, kind, run_of, films):
        model, place, file = run_of(family, kind)
        again, texts = headwise.load(place), [text for text, _ in films]
        assert again.task == model.task
        for asked in (texts, list(zip(texts, PARTNERS, strict=True))):
            assert again.predict(asked) == model.predict(asked)
        assert again.evaluate(file) == model.evaluate(file)

    def test_transformers_opens_the_directory_with_the_same_vectors(self, family, kind, run_of, films):
        from transformers import AutoModel, AutoTokenizer

        model, place, _ = run_of(family, kind)
        texts = [text for text, _ in films]
        tokenizer, theirs = AutoTokenizer.from_pretrained(place), AutoModel.from_pretrained(place).eval()
        inputs = tokenizer([model.task.query_prefix + text for text in texts], padding=True, return_tensors="pt")
        with torch.no_grad():
            states = theirs(**inputs).last_hidden_state
        mask = inputs["attention_mask"][:, :, None]
        means = F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        assert np.allclose(means, vectors(model, texts), atol=1e-5)

    def test_the_run_holds_all_it_should(self, family, kind, run_of):
        model, place, _ = run_of(family, kind)
        files = {file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()}
        model_files = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "headwise.json"}
        model_files.add("golden.json")
        theirs = {f"{name}.json" for name in ("modules", "sentence_bert_config", "config_sentence_transformers")}
        assert files == model_files | theirs | {"1_Pooling/config.json", "metrics.json", "report.html", "README.md"}
        card = json.loads((place / "headwise.json").read_text())
        assert set(card["sha256"]) == (model_files - {"headwise.json"}) | theirs | {"1_Pooling/config.json"}
        metrics = json.loads((place / "metrics.json").read_text(), parse_constant=pytest.fail)
        assert metrics == json.loads(json.dumps(model.report.as_dict()))
        assert card["task"] == "feature-extraction" and card["settings"]["relation"] == kind
        assert "</html>" in (place / "report.html").read_text()
        assert "AutoModel." in (place / "README.md").read_text()


def test_vectors_of_first_tokens_stay_so(directory_of, films, tmp_path):
    """As bge's are: read so, saved so, exported so, and first tokens for sentence-transformers, too."""
    from transformers import AutoModel, AutoTokenizer

    place = shutil.copytree(directory_of("bert"), tmp_path / "bge")
    (place / "1_Pooling").mkdir()
    (place / POOLING).write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    task = FeatureExtraction()
    model = Model(task, read_model(place, 0, "Model"), TextTokenizer.read(place, 66))
    texts = [text for text, _ in films]
    inputs = AutoTokenizer.from_pretrained(place)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(place).eval()(**inputs).last_hidden_state
    wanted = F.normalize(states[:, 0], dim=-1)
    assert np.allclose(wanted, vectors(model, texts), atol=1e-5)
    model.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / POOLING).read_text())["pooling_mode_cls_token"] is True
    assert np.allclose(wanted, vectors(headwise.load(tmp_path / "saved"), texts), atol=1e-5)
    export(tmp_path / "saved", tmp_path / "graph")
    assert np.allclose(wanted, vectors(headwise.load(tmp_path / "graph"), texts), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (POOLING, '{"pooling_mode_max_tokens": true}', "pooling_mode_max_tokens: not supported"),
        ("modules.json", '[{"type": "sentence_transformers.models.Dense"}]', "models.Dense: not supported"),
        ("modules.json", "[3]", "not as sentence-transformers writes it"),
        (POOLING, "[", "not as sentence-transformers writes it"),
    ],
)
def test_other_ways_to_a_vector_are_refused(name, content, told, directory_of, tmp_path):
    place = shutil.copytree(directory_of("bert"), tmp_path / "other")
    (place / "1_Pooling").mkdir()
    (place / name).write_text(content)
    with pytest.raises(InputError, match=told):
        read_model(place, 0, "Model")
    assert read_model(place, 2).model.head.spec.pool == "first", "a classifier has nothing to do with it"


def test_a_model_without_a_last_layer_is_not_frozen_whole(directory_of, films, table, tmp_path):
    rows, names = rows_of("pairs", films)
    file = table(tmp_path / "rows.tsv", rows, *names)
    how = {"task": "feature-extraction", "model": str(directory_of("bert")), "quiet": True}
    with pytest.raises(InputError, match="frozen_layers is 2, so that nothing would learn"):
        headwise.train(file, file, out=tmp_path / "run", frozen_layers=2, **how)


def test_a_run_is_not_gone_on_with_under_another_prefix(directory_of, films, table, tmp_path):
    rows, names = rows_of("pairs", films)
    file, model = table(tmp_path / "rows.tsv", rows, *names), str(directory_of("bert"))

    def made_for(**how):
        return prepared(file, file, None, model, {"task": "feature-extraction"} | how, Narrator(quiet=True)).made_for()

    assert made_for() == made_for() != made_for(query_prefix="film : ")
    assert made_for() != made_for(document_prefix="home ")


def test_what_is_asked_of_it(run_of, films):
    model, _, _ = run_of("bert", "pairs")
    found = vectors(model, [text for text, _ in films])
    assert np.allclose((found**2).sum(1), 1, atol=1e-5)
    partners = vectors(model, PARTNERS)
    told = model.predict([(films[0][0], PARTNERS[0])])
    assert told == [{"cosine": pytest.approx(float(found[0] @ partners[0]), abs=1e-5)}]
    assert (found @ partners.T).argmax(1).tolist() == list(range(8))


def test_prefixes_are_kept_and_put_before_texts(run_of, films):
    place = run_of("bert", "labels")[1]
    again = headwise.load(place)
    assert (again.task.query_prefix, again.task.document_prefix) == ("film : ", "home ")
    prompts = json.loads((place / "config_sentence_transformers.json").read_text())
    assert prompts["prompts"] == {"query": "film : ", "document": "home "}
    assert prompts["default_prompt_name"] == "query"


def test_baselines_are_words_and_the_model_as_it_was(run_of):
    names = [verdict.name for verdict in run_of("bert", "pairs")[0].report.verdicts]
    assert names[0] == "TF-IDF" and names[1].endswith("bert before fine-tuning") and len(names) == 3


def test_the_report_shows_answers_and_mistakes(run_of):
    page = (run_of("bert", "labels")[1] / "report.html").read_text()
    assert "Right and wrong texts" in page and "answered without a right text" in page
    assert "Cosines and scores" in (run_of("bert", "scores")[1] / "report.html").read_text()


def test_a_run_is_replaced_with_its_folders(run_of, films, directory_of, table, tmp_path):
    rows, names = rows_of("pairs", films)
    file = table(tmp_path / "rows.tsv", rows, *names)
    how = {"task": "feature-extraction", "epochs": 1, "with_baselines": False, "quiet": True, "out": tmp_path / "run"}
    headwise.train(file, file, model=str(directory_of("bert")), **how)
    headwise.train(file, file, model=str(directory_of("bert")), overwrite=True, **how)
    assert headwise.load(tmp_path / "run").task.relation == "pairs"
    pooling = tmp_path / "run" / "1_Pooling" / "config.json"
    pooling.write_text("{}")
    with pytest.raises(InputError, match=r"1_Pooling/config\.json: not the file that was saved"):
        headwise.load(tmp_path / "run")


# The loss


def losses_of(relation, first, second, values, outputs):
    truth = np.stack([values, ranking.numbers(first), ranking.numbers(second)], axis=1)
    batch = Batch(None, None, torch.from_numpy(truth), np.full(len(first), 2))
    return FeatureExtraction(relation=relation).losses(outputs, batch)


OUTPUTS = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
VECTORS = F.normalize(OUTPUTS, dim=-1)
LOGITS = 20 * VECTORS[0::2] @ VECTORS[1::2].T


def test_without_duplicates_it_is_cross_entropy_over_the_batch_from_both_sides():
    found = losses_of("pairs", "abcd", "wxyz", np.ones(4), OUTPUTS)
    rows = torch.arange(4)
    forth, back = (F.cross_entropy(logits, rows, reduction="none") for logits in (LOGITS, LOGITS.T))
    assert torch.allclose(found.float(), (forth + back) / 2, atol=1e-5)


def test_what_may_be_right_is_nothing_to_be_pushed_away():
    found = losses_of("pairs", "aacd", "wxwd", np.ones(4), OUTPUTS)
    # row 0 has the text of row 1, and the partner of row 2; these two have nothing in common
    kept = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]], dtype=torch.bool)
    logits = LOGITS.masked_fill(~kept, -torch.inf)
    forth = F.cross_entropy(logits, torch.arange(4), reduction="none")
    back = F.cross_entropy(LOGITS.T.masked_fill(~kept, -torch.inf), torch.arange(4), reduction="none")
    assert torch.allclose(found.float(), (forth + back) / 2, atol=1e-5)


def test_rows_that_say_no_are_negatives_and_have_no_loss_themselves():
    found = losses_of("labels", "abcd", "wxyz", np.array([1, 0, 1, 0]), OUTPUTS)
    own = LOGITS.diagonal()
    forth = torch.cat([LOGITS, own[[1, 3]].expand(4, 2)], 1).logsumexp(1) - own
    back = torch.cat([LOGITS.T, own[[1, 3]].expand(4, 2)], 1).logsumexp(1) - own
    expected = torch.tensor([1, 0, 1, 0]) * (forth + back) / 2
    assert torch.allclose(found.float(), expected, atol=1e-5)


def test_a_text_with_a_right_and_a_wrong_partner_is_pushed_from_the_wrong_one():
    outputs = OUTPUTS.clone().requires_grad_()
    losses_of("labels", "aa", "xy", np.array([1, 0]), outputs[:4]).sum().backward()
    assert outputs.grad[3].norm() > 0  # y


def test_no_first_text_stands_in_two_parts(table, tmp_path):
    rows = [(f"query {i}", f"passage {i} {j}", int(j == 0)) for i in range(50) for j in range(4)]
    file = table(tmp_path / "rows.tsv", rows, "query", "passage", "label")
    data = read_data(file, None, None, Asked(task="feature-extraction"), 42, {})
    queries = [set(part.texts.first.to_pylist()) for part in data.parts]
    assert not set.intersection(*queries) and sum(map(len, queries)) == 50
    assert any("no first text in two parts" in note for note in data.notes)


def test_a_label_that_is_1_everywhere_says_no_more_than_none(table, tmp_path):
    file = table(tmp_path / "rows.tsv", [("a b", "c d", 1), ("e f", "g h", 1)], "query", "passage", "label")
    data = read_data(file, file, None, Asked(task="feature-extraction"), 42, {})
    assert data.task.relation == "pairs"


def test_labels_of_other_tables_are_read_though_training_had_none(run_of, films, table, tmp_path):
    model, _, _ = run_of("bert", "pairs")
    rows = [(text, partner, right) for (text, _), partner, right in zip(films, PARTNERS, [1, 0] * 4, strict=True)]
    file = table(tmp_path / "rows.tsv", rows, "text_a", "text_b", "label")
    part, notes = model.read(file, Asked())
    assert part.truth[:, 0].tolist() == [1, 0] * 4 and any("label column: label" in note for note in notes)
    pairs = table(tmp_path / "pairs.tsv", [row[:2] for row in rows], "text_a", "text_b")
    data = read_data(pairs, file, file, Asked(task="feature-extraction"), 42, {})
    assert (
        data.train.truth[:, 0].all() and data.valid.truth[:, 0].tolist() == data.test.truth[:, 0].tolist() == [1, 0] * 4
    )
    odd = table(tmp_path / "odd.tsv", [(*rows[0][:2], 0.5)], "text_a", "text_b", "label")
    with pytest.raises(InputError, match=r"odd.tsv, line 2: label is 0.5, expected 1 or 0 as in training"):
        model.read(odd, Asked())


def test_what_is_no_pair_among_pairs_is_refused(run_of):
    model, _, _ = run_of("bert", "pairs")
    for odd in ("OK", "three", ("a", None), ("a", "b", "c")):
        with pytest.raises(InputError, match=r"text 2 is .*, expected a pair of texts"):
            model.predict([("a", "b"), odd])


def test_documents_are_counted_as_they_lie(run_of):
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(PARTNERS, index=range(7, -1, -1))
    index = Index.of(run_of("bert", "pairs")[0], series)
    (hits,) = index.search(["home"], top_k=8)
    assert hits[0].text == "home" and all(hit.text == PARTNERS[hit.document] for hit in hits)


def test_scores_are_an_order():
    found = losses_of("scores", "abcd", "wxyz", np.array([3.0, 1.0, 3.0, 0.0]), OUTPUTS)
    own = LOGITS.diagonal()
    lower = [(0, [1, 3]), (1, [3]), (2, [1, 3]), (3, [])]
    expected = [torch.logsumexp(own[[i, *others]], 0) - own[i] for i, others in lower]
    assert torch.allclose(found.float(), torch.stack(expected), atol=1e-5)


# What a user gets wrong

QUICK = {"task": "feature-extraction", "epochs": 1, "with_baselines": False, "quiet": True}


@pytest.mark.parametrize(
    ("rows", "names", "told"),
    [
        ([("a film", "good")], ("text", "label"), "found one column of text, text; name the second with --pair-column"),
        ([("a", "b", "maybe")], ("text_a", "text_b", "label"), "line 2: label is 'maybe', expected 1 or 0"),
        ([("a", "b", "nan")], ("text_a", "text_b", "score"), "line 2: score is 'nan', expected 1 or 0"),
        ([("a", "b", 0)] * 9, ("text_a", "text_b", "label"), "label is 0 in every row, which tells nothing apart"),
        ([("a", " ", 1)], ("text_a", "text_b", "label"), "line 2: the text in column text_b is empty"),
        ([("a", "b")], ("first", "other"), "cannot tell which column holds the text"),
    ],
)
def test_bad_tables_are_refused(rows, names, told, table, tmp_path):
    with pytest.raises(InputError, match=told):
        headwise.train(table(tmp_path / "a.tsv", rows, *names), **QUICK)


def test_other_mistakes_are_refused(run_of, films, table, tmp_path, directory_of):
    rows, names = rows_of("pairs", films)
    pairs = table(tmp_path / "pairs.tsv", rows, *names)
    with pytest.raises(InputError, match="no column with scores, which the model was trained on"):
        run_of("bert", "scores")[0].evaluate(pairs)
    third = table(tmp_path / "third.tsv", [("a", "b", 3)], "text_a", "text_b", "label")
    with pytest.raises(InputError, match=r"third\.tsv, line 2: label is 3, expected 1 or 0 as in training"):
        run_of("bert", "labels")[0].evaluate(third)
    with pytest.raises(InputError, match="class weights and label smoothing are of classes"):
        headwise.train(pairs, pairs, model=str(directory_of("bert")), label_smoothing=0.1, **QUICK)
    with pytest.raises(InputError, match="metric 'accuracy': expected mrr"):
        headwise.train(pairs, pairs, model=str(directory_of("bert")), metric="accuracy", **QUICK)
    films_file = table(tmp_path / "films.tsv", films)
    with pytest.raises(InputError, match="--query-prefix and --document-prefix are of feature-extraction"):
        headwise.train(films_file, quiet=True, query_prefix="query: ")
    with pytest.raises(InputError, match="a model of feature-extraction has no labels"):
        run_of("bert", "pairs")[0].probabilities(["a film"])


def test_a_damaged_card_is_refused(run_of, tmp_path):
    place = shutil.copytree(run_of("bert", "pairs")[1], tmp_path / "run")
    card = json.loads((place / "headwise.json").read_text())
    for wrong in ({"relation": "friends"}, {**card["settings"], "query_prefix": 3}, {**card["settings"], "odd": "a"}):
        (place / "headwise.json").write_text(json.dumps(card | {"settings": wrong}))
        with pytest.raises(InputError, match=r"headwise\.json: settings are not as headwise writes them"):
            headwise.load(place)


# The command line


def test_train_evaluate_and_predict(films, table, tmp_path, directory_of, command):
    rows, names = rows_of("pairs", films)
    file = table(tmp_path / "rows.tsv", rows, *names)
    words = ("--task", "feature-extraction", "--out", tmp_path / "run", "--epochs", 2, "--model", directory_of("bert"))
    status, _, said = command("train", file, "--valid", file, *words)
    assert status == 0 and "every row is two texts that belong together" in said
    status, shown, _ = command("evaluate", tmp_path / "run", file, "--json")
    assert status == 0 and json.loads(shown)["metric"] == "mrr"
    status, shown, _ = command("predict", tmp_path / "run", "a fine film", "dull")
    assert status == 0 and [len(json.loads(line)["vector"]) for line in shown.splitlines()] == [32, 32]
    for name in ("out.csv", "out.jsonl"):
        assert command("predict", tmp_path / "run", "--input", file, "--output", tmp_path / name)[0] == 0
    assert "cosine" in json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    single = table(tmp_path / "single.tsv", [(text,) for text in PARTNERS], "text")
    for name in ("vectors.csv", "vectors.jsonl"):
        assert command("predict", tmp_path / "run", "--input", single, "--output", tmp_path / name)[0] == 0
    assert len(json.loads((tmp_path / "vectors.jsonl").read_text().splitlines()[0])["vector"]) == 32


def test_search_gives_ranked_hits_with_scores_or_none(films, table, tmp_path, run_of, command):
    _, place, file = run_of("bert", "pairs")
    status, shown, said = command("search", place, "--documents", file, "--top-k", 3, films[0][0], films[4][0])
    assert status == 0 and "8 distinct documents in column text_b of 8 rows" in said
    first, second = (json.loads(line) for line in shown.splitlines())
    assert (first["query"], first["hits"][0]["text"], second["hits"][0]["text"]) == (films[0][0], PARTNERS[0], "好看")
    assert first["hits"][0]["document"] == 0 and 0.5 <= first["hits"][0]["score"] <= 1
    assert [hit["cosine"] for hit in first["hits"]] == sorted([h["cosine"] for h in first["hits"]], reverse=True)
    assert command("search", place, "--documents", file, "--least", "1", films[0][0])[1] == (
        json.dumps({"query": films[0][0], "hits": []}) + "\n"
    )
    for least in ("1.1", "nan"):
        status, _, said = command("search", place, "--documents", file, "--least", least, films[0][0])
        assert status == 2 and f"--least is {least}, expected a chance from 0 to 1" in said


def test_search_refuses_what_it_cannot_do(films, table, tmp_path, run_of, command, directory_of):
    _, place, file = run_of("bert", "scores")
    status, _, said = command("search", place, "--documents", file, "--least", "0.5", "a film")
    assert status == 2 and "never learnt how sure it can be" in said
    status, shown, _ = command("search", place, "--documents", file, "a film")
    assert status == 0 and {hit["score"] for hit in json.loads(shown)["hits"]} == {None}
    empty = table(tmp_path / "empty.tsv", [(" ", "a")], "text_b", "other")
    status, _, said = command("search", place, "--documents", empty, "a film")
    assert status == 2 and "column text_b holds no text" in said
    status, _, said = command("search", place, "--documents", file, "--top-k", 0, "a film")
    assert status == 2 and "top_k is 0, expected 1 or more" in said
    status, _, said = command("search", place, "--documents", file, "--reranker", place, "a film")
    assert status == 2 and "a re-ranker says of a pair whether it is right" in said
    classifier = tmp_path / "classifier"
    headwise.train(table(tmp_path / "f.tsv", films), tmp_path / "f.tsv", model=str(directory_of("bert")),
                   epochs=1, with_baselines=False, quiet=True).save(classifier)  # fmt: skip
    status, _, said = command("search", classifier, "--documents", file, "a film")
    assert status == 2 and "search takes a model of feature-extraction, found one of text-classification" in said


def test_a_reranker_and_the_cosine_both_have_a_say(films, table, tmp_path, run_of, directory_of, command):
    """It learns to like one document, whatever is looked for."""
    vectors, place, file = run_of("bert", "pairs")
    texts = [text for text, _ in films]
    rows = [(text, partner, int(partner == "home")) for text in texts for partner in PARTNERS]
    pairs = table(tmp_path / "pairs.tsv", rows, "text_a", "text_b", "label")
    how = FAST | {"class_weights": "balanced", "with_baselines": False, "out": tmp_path / "second", "epochs": 10}
    second = headwise.train(pairs, pairs, model=str(directory_of("bert")), metric="macro_f1", **how)
    order = ("--least", "0", "--reranker", tmp_path / "second")
    status, shown, said = command("search", place, "--documents", file, *order, *texts)
    assert status == 0 and "re-ranker: the more likely 1, the better" in said
    known = vectors.task.calibration
    for text, line in zip(texts, shown.splitlines(), strict=True):
        hits = json.loads(line)["hits"]
        right = second.probabilities([(text, hit["text"]) for hit in hits])[:, 1]
        odds = known.log_odds(np.array([hit["cosine"] for hit in hits])) + np.log(right / (1 - right))
        assert (np.diff(odds) < 1e-4).all() and {hit["text"] for hit in hits} == set(PARTNERS)
    index = Index.of(vectors, PARTNERS)
    never_learnt = replace(index, task=replace(index.task, calibration=None))
    assert [hits[0].text for hits in never_learnt.search(texts, reranker=second)] == ["home"] * 8


@pytest.mark.parametrize(
    ("says", "order"),
    [((0, 0, 0), [0, 1, 2]), ((0, 0.5, 0), [0, 1, 2]), ((0, 1.5, 0), [1, 0, 2]), ((0, 0, 9), [2, 0, 1])],
)
def test_a_reranker_counts_as_far_as_it_is_sure(says, order):
    hits = [Hit(number, str(number), cosine, None) for number, cosine in enumerate((0.9, 0.8, 0.1))]
    outputs = torch.tensor([[0.0, logit] for logit in says])
    model = SimpleNamespace(asked=lambda texts: (None, outputs), labels=("0", "1"), task=TextClassification(("0", "1")))
    assert [hit.document for hit in reranked(model, "?", hits, PlattScaling(10.0, -5.0))] == order
    by_itself = [hit.document for hit in reranked(model, "?", hits, None)]
    assert by_itself == sorted(range(3), key=lambda number: -says[number])


def test_what_is_put_before_texts_is_explained_with_them(directory_of):
    from headwise.families.checkpoint import read_model
    from headwise.insight.explain import explain

    place = directory_of("bert")
    task, tokenizer = FeatureExtraction(query_prefix="she ", document_prefix="we "), TextTokenizer.read(place, 66)
    model = read_model(place, 0, "Model").model
    found = explain(model, task, tokenizer, ("a fine film", "warm and funny"), method="occlusion", layers=())
    plain = FeatureExtraction()
    by_hand = explain(model, plain, tokenizer, ("she a fine film", "we warm and funny"), method="occlusion", layers=())
    assert [word.text for word in found.pieces.words] == ["she", "a", "fine", "film"]
    assert found.probabilities[0] == by_hand.probabilities[0]
