"""The estimator keeps scikit-learn's contract: clone, Pipeline, cross-validation, grid search."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import headwise.sklearn
from headwise.errors import InputError
from headwise.sklearn import TextClassifier, TextRegressor


@pytest.fixture
def classifier(directory_of):
    return TextClassifier(str(directory_of("bert")), learning_rate=5e-3, epochs=6, batch_size=8, dropout=0.0)


@pytest.fixture(scope="module")
def rows(films):
    """24 rows that one word tells apart."""
    texts = [f"{text} {i}" for i in range(3) for text, _ in films]
    return texts, ["good" if i % 2 == 0 else "bad" for i in range(24)]


def test_fitted_it_is_pickled_and_texts_may_be_a_column_of_pandas(classifier, directory_of, rows):
    pandas = pytest.importorskip("pandas")
    texts, labels = rows
    again = pickle.loads(pickle.dumps(classifier.fit(texts, labels)))
    assert again.predict_proba(texts).tolist() == classifier.predict_proba(texts).tolist()
    regressor = TextRegressor(str(directory_of("bert")), epochs=1).fit(texts, range(len(texts)))
    some = ["a fine film", "dull , slow and far too long " * 40, "i left before the end"]
    column = pandas.Series(some, index=[1, 2, 0])  # as after train_test_split
    assert regressor.predict(column).tolist() == regressor.predict(some).tolist()


def test_parameters_go_in_and_out_and_are_cloned(classifier):
    assert classifier.get_params()["learning_rate"] == 5e-3 and is_classifier(classifier)
    copy = clone(classifier.set_params(epochs=2, class_weights={"a": 1.0}))
    assert copy.get_params() == classifier.get_params() and copy.epochs == 2 and copy is not classifier
    with pytest.raises(ValueError, match="Invalid parameter 'batchsize'"):
        classifier.set_params(batchsize=3)


def test_what_rests_and_what_is_low_in_rank_is_a_parameter_too(classifier, rows):
    texts, labels = rows
    recipe = classifier.set_params(epochs=1, lora_rank=2, frozen_layers=1).fit(texts, labels).model_.card["recipe"]
    assert (recipe["lora_rank"], recipe["frozen_layers"], recipe["few_shot"]) == (2, 1, False)
    classifier.set_params(lora_rank=None, frozen_layers=None, few_shot=True).fit(texts, labels)
    assert classifier.model_.card["recipe"]["few_shot"] and classifier.score(texts, labels) == 1


def test_unfitted_it_says_so(classifier):
    for ask in (classifier.predict, classifier.predict_proba):
        with pytest.raises(NotFittedError):
            ask(["a fine film"])


@pytest.mark.parametrize("labels", [["good", "bad"], [7, -3], [True, False]])
def test_answers_are_of_the_kind_of_the_labels(labels, classifier, rows):
    texts = rows[0]
    y = [labels[0] if label == "good" else labels[1] for label in rows[1]]
    fitted = classifier.fit(texts, y)
    assert fitted is classifier and fitted.classes_.tolist() == sorted(set(y))
    probabilities, answers = fitted.predict_proba(texts[:5]), fitted.predict(np.array(texts[:5]))
    assert probabilities.shape == (5, 2) and np.allclose(probabilities.sum(1), 1, atol=1e-6)
    assert answers.tolist() == [fitted.classes_[i] for i in probabilities.argmax(1)]
    assert fitted.score(texts, y) > 0.7


@pytest.mark.parametrize("name", [str, int])
def test_more_than_ten_classes_stand_in_the_order_of_classes_(name, classifier):
    words = ["fine", "film", "warm", "funny", "dull", "slow", "far", "long", "she", "music", "plays", "nothing"]
    y = [name(100 - i) for i in range(12)] * 3
    fitted = classifier.set_params(epochs=4).fit([f"{word} {i} {word}" for i in range(3) for word in words], y)
    assert fitted.classes_.tolist() == sorted(set(y))
    assert fitted.model_.labels == tuple(map(str, fitted.classes_))  # the user's words, also where it is saved
    answers = [answer["label"] for answer in fitted.model_.predict(words)]
    assert list(map(str, fitted.predict(words))) == answers and len(set(answers)) > 1
    assert fitted.predict_proba(["film"]).shape == (1, 12)


def test_columns_follow_classes_even_where_the_model_had_such_labels_in_another_order(
    classifier, rows, directory_of, tmp_path
):
    place = shutil.copytree(directory_of("bert"), tmp_path / "model")
    config = json.loads((place / "config.json").read_text()) | {"id2label": {"0": "1", "1": "0"}}
    (place / "config.json").write_text(json.dumps(config))
    fitted = classifier.set_params(model=str(place)).fit(*rows)
    assert fitted.classes_.tolist() == ["bad", "good"] and fitted.model_.labels == ("good", "bad")
    answers = [answer["label"] for answer in fitted.model_.predict(rows[0])]
    assert fitted.predict(rows[0]).tolist() == answers and set(answers) == {"good", "bad"}


def test_a_tenth_is_kept_aside_and_all_else_is_learned(classifier, rows, monkeypatch):
    seen = []
    usual = headwise.sklearn.train
    monkeypatch.setattr(headwise.sklearn, "train", lambda *given, **how: seen.append(given) or usual(*given, **how))
    classifier.fit(*rows)
    train, valid = seen[0]
    assert (len(train), len(valid)) == (22, 2)
    assert sorted([*train.table["text"].to_pylist(), *valid.table["text"].to_pylist()]) == sorted(rows[0])


def test_pairs(classifier, rows):
    pairs = [(text, text[::-1]) for text in rows[0]]
    fitted = classifier.set_params(epochs=1).fit(pairs, rows[1])
    assert fitted.model_.card["columns"] == {"text": "text", "pair": "pair", "label": "label"}
    assert fitted.predict(pairs[:3]).shape == (3,)


def test_pipeline_cross_validation_and_grid_search(classifier, rows):
    texts, y = rows
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    scores = cross_val_score(make_pipeline(lower, classifier.set_params(epochs=4)), texts, y, cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all()
    search = GridSearchCV(classifier, {"learning_rate": [1e-6, 5e-3]}, cv=2, error_score="raise")
    search.set_params(estimator__epochs=6).fit(texts, y)
    assert search.best_params_["learning_rate"] in (1e-6, 5e-3)
    assert set(search.predict(texts)) <= {"good", "bad"}


def test_class_weights_are_given_by_the_users_labels(classifier, rows):
    classifier.set_params(class_weights={"good": 100.0, "bad": 0.01}, epochs=3).fit(*rows)
    assert set(classifier.predict(rows[0])) == {"good"}
    with pytest.raises(InputError, match="class_weights: expected one for each of 'bad', 'good'"):
        classifier.set_params(class_weights={"good": 1.0, "bad": 1.0, "fine": 1.0}).fit(*rows)


def test_too_few_texts_and_a_single_class_are_refused(classifier):
    with pytest.raises(InputError, match="too few to split"):
        classifier.fit(["a", "a"], ["x", "y"])
    with pytest.raises(InputError, match="one class only"):
        classifier.fit(["a", "b", "c"], ["x", "x", "x"])


def test_what_is_no_sequence_of_texts_and_labels_is_refused(classifier, rows):
    texts, y = rows
    bad = [("abc", y), ([], []), (np.array(texts)[:, None], y), ([(texts[0], texts[1]), *texts[1:]], y)]
    for X in bad:
        with pytest.raises(InputError, match=r"of X|X is|expected a list of texts, found one string"):
            classifier.fit(*X)
    for missing in (None, float("nan")):
        with pytest.raises(InputError, match=r"row 2 of y is \w+, expected a label"):
            classifier.fit(texts, [y[0], missing, *y[2:]])
    fitted = classifier.set_params(epochs=1).fit(*rows)
    with pytest.raises(InputError, match="found one string"):
        fitted.predict("a fine film")
    with pytest.raises(InputError, match="trained on single texts, found pairs"):
        fitted.predict([(texts[0], texts[1])])


def test_labels_of_any_kind_are_read_or_refused_in_a_line(classifier, rows):
    pandas = pytest.importorskip("pandas")
    texts, y = rows
    classifier.set_params(epochs=1)
    assert classifier.fit(texts, np.array(y)[:, None]).classes_.tolist() == ["bad", "good"]
    assert classifier.fit(texts, [label == "good" for label in y]).model_.labels == ("false", "true")  # as in a table
    missing = pandas.Series([None, *range(2), *[1] * (len(y) - 3)], dtype="Int64")
    several = [["a", "b"]] * len(y)
    for labels, said in [(missing, "row 1 of y is <NA>"), (several, "no single label"), (None, "found a NoneType")]:
        with pytest.raises(InputError, match=said):
            classifier.fit(texts, labels)
    with pytest.raises(InputError, match="found a table; give one column"):
        classifier.fit(pandas.DataFrame({"text": texts}), y)


def test_a_fit_that_fails_leaves_the_one_before(classifier, rows):
    texts, y = rows
    answers = classifier.fit(texts, y).predict(texts).tolist()
    with pytest.raises(InputError):
        classifier.fit(texts, ["u", "v"])
    assert classifier.predict(texts).tolist() == answers and classifier.classes_.tolist() == ["bad", "good"]


def test_what_a_search_over_numbers_of_numpy_found_can_be_saved(classifier, rows, tmp_path):
    how = {"batch_size": np.array([8]), "seed": np.arange(1), "class_weights": [{"good": np.float32(1), "bad": 2}]}
    search = GridSearchCV(classifier.set_params(epochs=1), how, cv=2).fit(*rows)
    search.best_estimator_.model_.save(tmp_path / "run")
    assert json.loads((tmp_path / "run/headwise.json").read_text())["recipe"]["batch_size"] == 8


def test_a_regressor_learns_numbers_and_is_cloned_scored_and_searched(directory_of, rows):
    texts, labels = rows
    y = np.array([200.5 if label == "good" else 100 for label in labels])
    regressor = TextRegressor(str(directory_of("bert")), learning_rate=5e-3, epochs=6, batch_size=8, dropout=0.0)
    assert is_regressor(regressor) and clone(regressor).get_params() == regressor.get_params()
    with pytest.raises(NotFittedError):
        regressor.predict(texts)
    fitted = regressor.fit(texts, y)
    answers = fitted.predict(np.array(texts))
    assert answers.shape == (24,) and fitted.score(texts, y) > 0.5
    assert fitted.model_.task.name == "regression"
    assert np.isfinite(cross_val_score(regressor.set_params(epochs=1), texts, y, cv=2)).all()
    pairs = regressor.fit([(text, text[::-1]) for text in texts], np.arange(24))  # whole numbers are numbers here
    assert pairs.predict([(texts[0], texts[1])]).shape == (1,)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (float("inf"), "row 2: label is 'inf', expected a number"),
        (float("nan"), "row 2: label is '', expected a number"),
    ],
)
def test_a_regressor_refuses_what_is_no_number(number, told, directory_of, rows):
    with pytest.raises(InputError, match=told):
        TextRegressor(str(directory_of("bert"))).fit(rows[0], [1.5, number, *range(22)])
