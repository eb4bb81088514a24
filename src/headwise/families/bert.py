"""BERT (Devlin et al. 2019, arXiv:1810.04805)."""

from __future__ import annotations

from headwise.core import spec
from headwise.families.family import POOLED, Config, Family, Head, activation, each_position, one_more, words

ENCODER: dict[str, str | tuple[str, ...]] = {
    "embeddings.word_embeddings": "embeddings.tokens",
    "embeddings.position_embeddings": "embeddings.positions",
    "embeddings.token_type_embeddings": "embeddings.types",
    "embeddings.LayerNorm": "embeddings.norm",
    "encoder.layer.{}.attention.self.query": "blocks.{}.attention.layer.query",
    "encoder.layer.{}.attention.self.key": "blocks.{}.attention.layer.key",
    "encoder.layer.{}.attention.self.value": "blocks.{}.attention.layer.value",
    "encoder.layer.{}.attention.output.dense": "blocks.{}.attention.layer.out",
    "encoder.layer.{}.attention.output.LayerNorm": "blocks.{}.attention.after",
    "encoder.layer.{}.intermediate.dense": "blocks.{}.feed_forward.layer.up",
    "encoder.layer.{}.output.dense": "blocks.{}.feed_forward.layer.down",
    "encoder.layer.{}.output.LayerNorm": "blocks.{}.feed_forward.after",
}


def stack(config: Config) -> spec.Stack:
    """Also RoBERTa's and ELECTRA's, but for where positions begin and how wide embeddings are."""
    kind = config.get("position_embedding_type") or "absolute"
    if kind != "absolute":
        raise ValueError(f"position_embedding_type is {kind!r}, supported is 'absolute'")
    d_model, n_heads = config["hidden_size"], config["num_attention_heads"]
    norm = spec.Norm(eps=config.get("layer_norm_eps", 1e-12))
    dropout = config.get("hidden_dropout_prob", 0.1)
    block = spec.Block(
        attention=spec.Attention(
            n_heads=n_heads,
            n_kv_heads=n_heads,
            d_head=d_model // n_heads,
            causal=config.get("is_decoder", False),
            dropout=config.get("attention_probs_dropout_prob", 0.1),
        ),
        feed_forward=spec.FeedForward(config["intermediate_size"], activation(config, "hidden_act")),
        norm=norm,
        dropout=dropout,
    )
    embeddings = spec.Embeddings(
        vocab_size=config["vocab_size"],
        d_embedding=d_model,
        scale=1.0,
        positions="learned",
        n_positions=config["max_position_embeddings"],
        n_types=config.get("type_vocab_size", 2),
        norm=norm,
        dropout=dropout,
    )
    return spec.Stack(d_model, embeddings, (block,) * config["num_hidden_layers"])


def classifier_dropout(config: Config) -> float:
    """Its own where the config gives one, else that of the hidden layers."""
    own = config.get("classifier_dropout")
    return config.get("hidden_dropout_prob", 0.1) if own is None else own


def classifier(config: Config, n_labels: int) -> spec.Head:
    """The pooler of pretraining's sentence task, then one linear layer."""
    return spec.Head(n_labels, activation="tanh", dropout=classifier_dropout(config))


def masked(config: Config, _: int) -> spec.Head:
    """With the activation and the norms of the blocks."""
    norm = spec.Norm(eps=config.get("layer_norm_eps", 1e-12))
    return words(config, activation(config, "hidden_act"), norm)


WORDS = {
    "cls.predictions.transform.dense": "dense",
    "cls.predictions.transform.LayerNorm": "norm",
    "cls.predictions": "out",
}


FAMILY = Family(
    classes={"bert": "Bert"},
    prefix="bert.",
    encoder=ENCODER,
    heads={
        "ForSequenceClassification": Head({"bert.pooler.dense": "dense", "classifier": "out"}, classifier),
        "ForTokenClassification": each_position("classifier", classifier_dropout),
        "ForQuestionAnswering": each_position("qa_outputs"),
        "ForMaskedLM": Head(WORDS, masked),
        "Model": POOLED,
    },
    dropped=("bert.embeddings.position_ids", "cls."),
    stack=stack,
    averaging=one_more("num_hidden_layers"),
)
