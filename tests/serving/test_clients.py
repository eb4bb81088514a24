"""Each shape is proven by the client that sends it."""

from __future__ import annotations

import base64
import json
from importlib.util import find_spec

import numpy as np
import pytest

import headwise

TEXT = "a fine film , warm and funny"
OTHER = "dull , slow and far too long"


def needs(package: str) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="module")
def expected(run_of):
    """What the model says from Python."""
    return lambda name, *texts: headwise.load(run_of(name)).predict(list(texts))


@pytest.fixture
def hub(running, monkeypatch):
    """huggingface_hub's client of one model."""
    import huggingface_hub

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return lambda name: huggingface_hub.InferenceClient(model=f"{running.url}/models/{name}")


def test_huggingface_hub_gets_every_task(hub, expected, masked):
    (answer,) = expected("films", TEXT)
    first, second = hub("films").text_classification(TEXT, top_k=2)
    assert (first.label, first.score) == (answer["label"], pytest.approx(answer["score"], abs=1e-5))
    assert second.score == pytest.approx(1 - first.score, abs=1e-5)
    plain = hub("films").text_classification(TEXT, function_to_apply="none")
    assert plain[0].label == first.label and plain[0].score != first.score

    entities = hub("tagger").token_classification(TEXT, aggregation_strategy="simple")
    assert [(one.entity_group, one.word, one.start, one.end) for one in entities] == [
        (one["label"], one["text"], one["start"], one["end"]) for one in expected("tagger", TEXT)[0]["entities"]
    ]
    context = f"{TEXT} , far too long"
    found = hub("questions").question_answering(question="how long", context=context)
    assert found.answer == expected("questions", ("how long", context))[0]["answer"]

    words = hub("masked").fill_mask("a [MASK] film")
    assert len(words) == 5 and words[0].sequence == f"a {words[0].token_str} film"
    assert words[0].token_str == headwise.load(masked).predict(["a [MASK] film"])[0]["masks"][0][0]["word"]

    vectors = hub("faq").feature_extraction([TEXT, OTHER], normalize=True, truncate=True)
    assert np.allclose(vectors, [one["vector"] for one in expected("faq", TEXT, OTHER)], atol=1e-5)
    cosines = hub("faq").sentence_similarity(TEXT, other_sentences=[OTHER, TEXT])
    assert cosines == pytest.approx([vectors[0] @ vectors[1], 1], abs=1e-5)

    labels = hub("entails").zero_shot_classification(TEXT, ["good", "bad"], multi_label=True)
    assert sorted(one.label for one in labels) == ["bad", "good"] and all(0 < one.score < 1 for one in labels)
    one_of = hub("entails").zero_shot_classification(TEXT, ["good", "bad"])
    assert sum(one.score for one in one_of) == pytest.approx(1, abs=1e-5)


def test_openai_gets_numbers_and_base64(running, expected):
    needs("openai")
    import openai

    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="none")
    vector = expected("faq", TEXT)[0]["vector"]
    for form in ("float", "base64"):
        answer = client.embeddings.create(model="faq", input=[OTHER, TEXT], encoding_format=form)
        found = answer.data[1].embedding
        found = np.frombuffer(base64.b64decode(found), "<f4") if isinstance(found, str) else found
        assert np.allclose(found, vector, atol=1e-5) and answer.usage.prompt_tokens > 4
    usual = client.embeddings.create(model="faq", input=TEXT)  # asks for base64 and unpacks it
    assert np.allclose(usual.data[0].embedding, vector, atol=1e-5)
    assert [one.id for one in client.models.list()][:1] == ["films"]
    with pytest.raises(openai.NotFoundError) as refused:
        client.embeddings.create(model="gpt", input=TEXT)
    assert "no model 'gpt'" in refused.value.response.json()["error"]


def test_cohere_gets_a_ranking(running, expected):
    needs("cohere")
    import cohere

    client = cohere.ClientV2("none", base_url=running.url)
    documents = [OTHER, TEXT[::-1], TEXT]
    answer = client.rerank(model="entails", query=TEXT, documents=documents, top_n=2)
    assert len(answer.results) == 2
    assert answer.results[0].relevance_score >= answer.results[1].relevance_score
    pair = expected("entails", (TEXT, documents[answer.results[0].index]))[0]
    chance = pair["score"] if pair["label"] == "entailment" else 1 - pair["score"]
    assert answer.results[0].relevance_score == pytest.approx(chance, abs=1e-5)


@pytest.mark.parametrize("binary", [False, True])
def test_tritonclient_gets_tensors(running, expected, binary):
    needs("tritonclient")
    import tritonclient.http as triton

    client = triton.InferenceServerClient(running.url.removeprefix("http://"))
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("films")
    about = client.get_model_metadata("films")
    assert [one["name"] for one in about["outputs"]] == ["label", "score"]
    given = triton.InferInput("text", [2], "BYTES")
    given.set_data_from_numpy(np.array([TEXT, "很好 👍"], object), binary_data=binary)
    answer = client.infer("films", [given], request_id="7")
    said = expected("films", TEXT, "很好 👍")
    assert [one.decode() if isinstance(one, bytes) else one for one in answer.as_numpy("label")] == [
        one["label"] for one in said
    ]
    assert np.allclose(answer.as_numpy("score"), [one["score"] for one in said], atol=1e-5)
    assert answer.get_response()["id"] == "7"
    vector = triton.InferInput("text", [1], "BYTES")
    vector.set_data_from_numpy(np.array([TEXT], object), binary_data=binary)
    found = client.infer("faq", [vector]).as_numpy("vector")
    assert found.shape == (1, 32) and np.allclose(found[0], expected("faq", TEXT)[0]["vector"], atol=1e-5)
    with pytest.raises(triton.InferenceServerException, match="no model 'nobody'"):
        client.infer("nobody", [vector])


def test_mlflow_gets_predictions(running, expected):
    needs("mlflow")
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    host, port = running.url.removeprefix("http://").split(":")
    client = ScoringServerClient(host, int(port))
    client.ping()
    client.get_version()
    said = expected("films", TEXT, OTHER)
    import pandas

    for data in ([TEXT, OTHER], pandas.DataFrame({"text": [TEXT, OTHER]})):
        found = client.invoke(data).get_predictions()
        found = found.to_dict("records") if hasattr(found, "to_dict") else found
        assert [one["label"] for one in found] == [one["label"] for one in said]


# text-embeddings-inference has no client of its own: its requests as its documentation has them


def test_text_embeddings_inference_predicts_in_three_forms(running, expected):
    status, one, headers = running.ask("/predict", {"inputs": TEXT})
    assert status == 200 and one[0]["label"] == expected("films", TEXT)[0]["label"]
    assert [row["score"] for row in one] == sorted((row["score"] for row in one), reverse=True)
    for name in ("x-compute-type", "x-compute-characters", "x-compute-tokens", "x-total-time", "x-queue-time"):
        assert name in headers
    assert headers["x-model"] == "films" and len(headers["x-model-version"]) == 12
    _, batch, _ = running.ask("/predict", {"inputs": [[TEXT], [OTHER]]})
    assert [row[0]["label"] for row in batch] == [row["label"] for row in expected("films", TEXT, OTHER)]
    _, raw, _ = running.ask("/predict", {"inputs": TEXT, "raw_scores": True})
    assert sum(row["score"] for row in raw) != pytest.approx(1, abs=1e-3)
    _, pair, _ = running.ask("/models/pairs/predict", {"inputs": [TEXT, TEXT[::-1]]})
    assert pair[0]["label"] == expected("pairs", (TEXT, TEXT[::-1]))[0]["label"]
    _, number, _ = running.ask("/models/stars/predict", {"inputs": TEXT})
    assert number == [{"label": "stars", "score": pytest.approx(expected("stars", TEXT)[0]["score"], abs=1e-4)}]


def test_text_embeddings_inference_embeds_and_ranks(running, expected):
    (one,) = running.ask("/embed", {"inputs": TEXT})[1]
    assert one == pytest.approx(expected("faq", TEXT)[0]["vector"], abs=1e-5)
    raw = running.ask("/embed", {"inputs": [TEXT, OTHER], "normalize": False})[1]
    assert np.allclose(raw[0] / np.linalg.norm(raw[0]), one, atol=1e-5)
    short = running.ask("/embed", {"inputs": TEXT, "dimensions": 8})[1][0]
    assert len(short) == 8 and np.linalg.norm(short) == pytest.approx(1, abs=1e-5)
    ranked = running.ask("/rerank", {"query": TEXT, "texts": [OTHER, TEXT], "return_text": True})[1]
    assert sorted(row["index"] for row in ranked) == [0, 1] and ranked[0]["score"] >= ranked[1]["score"]
    assert ranked[0]["text"] == [OTHER, TEXT][ranked[0]["index"]]
    cosines = running.ask("/similarity", {"inputs": {"source_sentence": TEXT, "sentences": [TEXT, OTHER]}})[1]
    assert cosines[0] == pytest.approx(1, abs=1e-5)
    tokens = running.ask("/tokenize", {"inputs": "a fine film"})[1][0]
    assert [token["text"] for token in tokens] == ["[CLS]", "a", "fine", "film", "[SEP]"]
    assert tokens[0]["special"] and tokens[1] | {"id": 0} == {
        "id": 0,
        "text": "a",
        "special": False,
        "start": 0,
        "stop": 1,
    }
    assert running.ask("/decode", {"ids": [token["id"] for token in tokens]})[1] == ["a fine film"]
    assert "classifier" in running.ask("/info")[1]["model_type"]
    assert "embedding" in running.ask("/models/faq/info")[1]["model_type"]


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "said"),
    [
        ("/predict", {"inputs": ""}, 400, "Empty", "cannot be empty"),
        ("/predict", {"inputs": 3}, 422, "Validation", "a text, or a pair"),
        ("/predict", {"inputs": [TEXT, OTHER]}, 422, "Tokenizer", "trained on single texts, found pairs"),
        (
            "/predict",
            {"inputs": [[TEXT], TEXT]},
            422,
            "Validation",
            "a list of each text of several: [[text], ",
        ),
        ("/predict", {"inputs": [TEXT] * 3}, 422, "Validation", "a list of each text of several: [[text], "),
        ("/models/pairs/predict", {"inputs": TEXT}, 422, "Tokenizer", "trained on pairs"),
        ("/predict", {"inputs": "\ud800"}, 422, "Tokenizer", "valid Unicode"),
        ("/predict", {"inputs": "x " * 250_000}, 413, "Validation", "400,000 at most"),
        ("/predict", {"inputs": [["x"]] * 2_000}, 413, "Validation", "1,024 at most"),
        ("/predict", b'{"inputs": NaN}', 400, "Validation", "no valid JSON"),
        ("/predict", b"[" * 100_000, 400, "Validation", "no valid JSON"),
        ("/predict", b"[1]", 422, "Validation", "a JSON object"),
        ("/embed", {"inputs": "long " * 80}, 422, "Validation", "longer than the model reads"),
        ("/embed", {"inputs": "x", "dimensions": 999}, 422, "Validation", "makes 32 numbers"),
        ("/models/films/embed", {"inputs": "x"}, 422, "Validation", "here are films (text-classification)"),
        ("/models/nobody/predict", {"inputs": "x"}, 404, "NotFound", "no model 'nobody'"),
        ("/nowhere", {}, 404, "NotFound", "nothing at this address"),
        ("/models/films", {"inputs": "x", "parameters": {"top_p": 1}}, 422, "Validation", "'top_p' are not known"),
        ("/v2/models/films/infer", {"inputs": [{"datatype": "FP32"}]}, 422, "Validation", "BYTES"),
        ("/invocations", {}, 422, "Validation", "expected inputs"),
        ("/invocations", {"inputs": {"a": ["x", "y"], "b": ["z"]}}, 422, "Validation", "as many texts each"),
        (
            "/v2/models/pairs/infer",
            {"inputs": [{"datatype": "BYTES", "data": ["x", "y"]}, {"datatype": "BYTES", "data": ["z"]}]},
            422,
            "Validation",
            "as many texts each",
        ),
        (
            "/v2/models/films/infer",
            {"inputs": [{"datatype": "BYTES", "data": ["x"]}], "outputs": [{"name": ["a"]}]},
            422,
            "Validation",
            "some of",
        ),
        ("/embed", {"inputs": ["fine", "long " * 80]}, 422, "Validation", "text 2 is longer"),
        (
            "/models/faq/invocations",
            {"inputs": ["abc", ["a", "b"]]},
            422,
            "Tokenizer",
            "expected a pair of texts, as others are",
        ),
        (
            "/models/faq/invocations",
            {"inputs": ["ab", ["a", "b"]]},
            422,
            "Tokenizer",
            "expected a pair of texts, as others are",
        ),
        (
            "/v2/models/faq/infer",
            {"inputs": [{"datatype": "BYTES", "shape": [1, 2], "data": ["a", "b"]}]},
            422,
            "Validation",
            "single texts, each of which gets a vector",
        ),
        (
            "/models/pairs/v2/rerank",
            {"query": "x", "documents": ["y"], "max_tokens_per_doc": 9},
            422,
            "Validation",
            "`max_tokens_per_doc`: expected nothing",
        ),
        ("/decode", {"ids": [[1]] * 2_000}, 413, "Validation", "1,024 at most"),
        ("/tokenize", {"inputs": "\ud800"}, 422, "Validation", "valid Unicode"),
        (
            "/models/entails",
            {"inputs": ["x"] * 1_000, "parameters": {"candidate_labels": ["y"] * 1_000}},
            413,
            "Validation",
            "1,000,000 texts, expected 1,024 at most",
        ),
        (
            "/models/entails",
            {
                "inputs": "x",
                "parameters": {"candidate_labels": ["y"] * 1_000, "hypothesis_template": "{}" + "z" * 9_999},
            },
            413,
            "Validation",
            "400,000 at most",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_form(running, path, body, status, kind, said):
    found, answer, headers = running.ask(path, body)
    assert (found, answer["error_type"]) == (status, kind), answer
    assert said in answer["error"] and answer["request_id"] == headers["x-request-id"]
    assert running.ask("/predict", {"inputs": TEXT})[0] == 200


def test_other_methods_are_refused_in_the_same_form(running):
    status, answer, _ = running.ask("/predict")
    assert status == 405 and "Method Not Allowed" in answer["error"]


def test_a_bytes_tensor_that_is_damaged_is_refused(running):
    head = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]}
    told = json.dumps(head).encode()
    for tail in (b"\x09\0\0\0ab", b"\x02\0\0\0\xff\xfe"):
        where = {"Inference_Header_Content_Length": str(len(told))}
        assert running.ask("/v2/models/films/infer", told + tail, **where)[0] == 400
