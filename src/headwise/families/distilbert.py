"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT without types, half as deep."""

from __future__ import annotations

from headwise.core import spec
from headwise.families.family import POOLED, Config, Family, Head, activation, each_position, one_more, words


def stack(config: Config) -> spec.Stack:
    """The config's own words are n_layers, n_heads, dim, hidden_dim."""
    norm = spec.Norm(eps=1e-12)
    dropout = config.get("dropout", 0.1)
    block = spec.Block(
        attention=spec.Attention(
            n_heads=config["n_heads"],
            n_kv_heads=config["n_heads"],
            d_head=config["dim"] // config["n_heads"],
            dropout=config.get("attention_dropout", 0.1),
        ),
        feed_forward=spec.FeedForward(config["hidden_dim"], activation(config, "activation")),
        norm=norm,
        dropout=dropout,
    )
    embeddings = spec.Embeddings(
        vocab_size=config["vocab_size"],
        d_embedding=config["dim"],
        scale=1.0,
        positions="learned",
        n_positions=config["max_position_embeddings"],
        norm=norm,
        dropout=dropout,
    )
    return spec.Stack(config["dim"], embeddings, (block,) * config["n_layers"])


def classifier(config: Config, n_labels: int) -> spec.Head:
    """Dense, ReLU, dropout, linear."""
    return spec.Head(n_labels, activation="relu", dropout=config.get("seq_classif_dropout", 0.2))


def masked(config: Config, _: int) -> spec.Head:
    """With the blocks' activation."""
    return words(config, activation(config, "activation"), spec.Norm(eps=1e-12))


WORDS = {"vocab_transform": "dense", "vocab_layer_norm": "norm", "vocab_projector": "out"}


FAMILY = Family(
    classes={"distilbert": "DistilBert"},
    prefix="distilbert.",
    encoder={
        "embeddings.word_embeddings": "embeddings.tokens",
        "embeddings.position_embeddings": "embeddings.positions",
        "embeddings.LayerNorm": "embeddings.norm",
        "transformer.layer.{}.attention.q_lin": "blocks.{}.attention.layer.query",
        "transformer.layer.{}.attention.k_lin": "blocks.{}.attention.layer.key",
        "transformer.layer.{}.attention.v_lin": "blocks.{}.attention.layer.value",
        "transformer.layer.{}.attention.out_lin": "blocks.{}.attention.layer.out",
        "transformer.layer.{}.sa_layer_norm": "blocks.{}.attention.after",
        "transformer.layer.{}.ffn.lin1": "blocks.{}.feed_forward.layer.up",
        "transformer.layer.{}.ffn.lin2": "blocks.{}.feed_forward.layer.down",
        "transformer.layer.{}.output_layer_norm": "blocks.{}.feed_forward.after",
    },
    heads={
        "ForSequenceClassification": Head({"pre_classifier": "dense", "classifier": "out"}, classifier),
        "ForTokenClassification": each_position("classifier", lambda config: config.get("dropout", 0.1)),
        "ForQuestionAnswering": each_position("qa_outputs", lambda config: config.get("qa_dropout", 0.1)),
        "ForMaskedLM": Head(WORDS, masked),
        "Model": POOLED,
    },
    dropped=("distilbert.embeddings.position_ids", "vocab_transform.", "vocab_layer_norm.", "vocab_projector."),
    stack=stack,
    averaging=one_more("n_layers"),
)
