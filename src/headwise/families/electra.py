"""ELECTRA (Clark et al. 2020, arXiv:2003.10555): BERT trained to spot replaced tokens, with narrower embeddings."""

from __future__ import annotations

from dataclasses import replace

from headwise.core import spec
from headwise.families import bert
from headwise.families.family import POOLED, Config, Family, Head, each_position, one_more, words


def stack(config: Config) -> spec.Stack:
    """BERT's, with embeddings of their own width."""
    base = bert.stack(config)
    return replace(base, embeddings=replace(base.embeddings, d_embedding=config.get("embedding_size", 128)))


def classifier(config: Config, n_labels: int) -> spec.Head:
    """Dropout, dense, GELU, dropout, linear."""
    dropout = bert.classifier_dropout(config)
    return spec.Head(n_labels, activation="gelu", dropout_before=dropout, dropout=dropout)


def masked(config: Config, _: int) -> spec.Head:
    """The generator's: GELU, and a dense layer to the embeddings' width."""
    norm = spec.Norm(eps=config.get("layer_norm_eps", 1e-12))
    return words(config, "gelu", norm, d_dense=config.get("embedding_size", 128))


WORDS = {"generator_predictions.dense": "dense", "generator_predictions.LayerNorm": "norm", "generator_lm_head": "out"}


FAMILY = Family(
    classes={"electra": "Electra"},
    prefix="electra.",
    encoder={**bert.ENCODER, "embeddings_project": "embeddings.project"},
    heads={
        "ForSequenceClassification": Head({"classifier.dense": "dense", "classifier.out_proj": "out"}, classifier),
        "ForTokenClassification": each_position("classifier", bert.classifier_dropout),
        "ForQuestionAnswering": each_position("qa_outputs"),
        "ForMaskedLM": Head(WORDS, masked),
        "Model": POOLED,
    },
    dropped=(
        "electra.embeddings.position_ids",
        "discriminator_predictions.",
        "generator_predictions.",
        "generator_lm_head.",
    ),
    stack=stack,
    averaging=one_more("num_hidden_layers"),
)
