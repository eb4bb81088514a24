"""RoBERTa (Liu et al. 2019, arXiv:1907.11692), XLM-R (arXiv:1911.02116) and CamemBERT (arXiv:1911.03894)."""

from __future__ import annotations

from dataclasses import replace

from headwise.core import spec
from headwise.families import bert
from headwise.families.family import POOLED, Config, Family, Head, each_position, one_more, words


def stack(config: Config) -> spec.Stack:
    """BERT's, with places counted from the one after the padding token's number."""
    base = bert.stack(config)
    first = (1 if config.get("pad_token_id") is None else config["pad_token_id"]) + 1
    places = config["max_position_embeddings"] - first
    return replace(base, embeddings=replace(base.embeddings, n_positions=places, first_position=first))


def classifier(config: Config, n_labels: int) -> spec.Head:
    """Dropout, dense, tanh, dropout, linear."""
    dropout = bert.classifier_dropout(config)
    return spec.Head(n_labels, activation="tanh", dropout_before=dropout, dropout=dropout)


def masked(config: Config, _: int) -> spec.Head:
    """GELU, whatever the blocks have."""
    return words(config, "gelu", spec.Norm(eps=config.get("layer_norm_eps", 1e-12)))


WORDS = {"lm_head.dense": "dense", "lm_head.layer_norm": "norm", "lm_head": "out"}


FAMILY = Family(
    classes={
        "roberta": "Roberta",
        "xlm-roberta": "XLMRoberta",
        "camembert": "Camembert",
    },
    prefix="roberta.",
    encoder=bert.ENCODER,
    heads={
        "ForSequenceClassification": Head({"classifier.dense": "dense", "classifier.out_proj": "out"}, classifier),
        "ForTokenClassification": each_position("classifier", bert.classifier_dropout),
        "ForQuestionAnswering": each_position("qa_outputs"),
        "ForMaskedLM": Head(WORDS, masked),
        "Model": POOLED,
    },
    dropped=("roberta.embeddings.position_ids", "roberta.pooler.", "lm_head."),
    stack=stack,
    averaging=one_more("num_hidden_layers"),
)
