"""ModernBERT (Warner et al. 2024, arXiv:2412.13663): rotary places, gated feed-forward, windows in most layers."""

from __future__ import annotations

from dataclasses import replace

from headwise.core import spec
from headwise.families.family import POOLED, Config, Family, Head, activation, words


def layer_types(config: Config) -> list[str]:
    """transformers 5 lists them; earlier files say every how many layers one sees everything."""
    every = config.get("global_attn_every_n_layers", 3)
    counted = ["sliding_attention" if i % every else "full_attention" for i in range(config["num_hidden_layers"])]
    return config.get("layer_types") or counted


def rotary_base(config: Config, kind: str) -> float:
    """transformers 5 keeps it in rope_parameters; earlier files in global_rope_theta and local_rope_theta."""
    parameters = (config.get("rope_parameters") or {}).get(kind) or {}
    if parameters.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type is {parameters['rope_type']!r}, supported is 'default'")
    older, usual = {
        "full_attention": ("global_rope_theta", 160_000.0),
        "sliding_attention": ("local_rope_theta", 10_000.0),
    }[kind]
    return parameters.get("rope_theta") or config.get(older) or usual


def stack(config: Config) -> spec.Stack:
    """Norm first; blocks with a window and blocks without turn their heads at different speeds."""
    d_model, n_heads = config["hidden_size"], config["num_attention_heads"]
    norm = spec.Norm(eps=config.get("norm_eps", 1e-5), bias=config.get("norm_bias", False))
    bias = config.get("attention_bias", False)

    def block(kind: str, first: bool) -> spec.Block:
        return spec.Block(
            attention=spec.Attention(
                n_heads=n_heads,
                n_kv_heads=n_heads,
                d_head=d_model // n_heads,
                bias=bias,
                out_bias=bias,
                window=config.get("local_attention", 128) // 2 if kind == "sliding_attention" else None,
                rotary=rotary_base(config, kind),
                dropout=config.get("attention_dropout", 0.0),
            ),
            feed_forward=spec.FeedForward(
                config["intermediate_size"],
                activation(config, "hidden_activation"),
                gated=True,
                bias=config.get("mlp_bias", False),
                dropout=config.get("mlp_dropout", 0.0),
            ),
            norm=norm,
            pre_norm=True,
            first_norm=not first,
            dropout=0.0,
        )

    embeddings = spec.Embeddings(
        vocab_size=config["vocab_size"],
        d_embedding=d_model,
        scale=1.0,
        positions=None,
        n_positions=config.get("max_position_embeddings", 8192),
        norm=norm,
        dropout=config.get("embedding_dropout", 0.0),
    )
    blocks = tuple(block(kind, first=i == 0) for i, kind in enumerate(layer_types(config)))
    return spec.Stack(d_model, embeddings, blocks, final_norm=norm)


def classifier(config: Config, n_labels: int) -> spec.Head:
    """Pool, then the prediction head of pretraining: dense, activation, norm; then linear."""
    return spec.Head(
        n_labels,
        pool="mean" if config.get("classifier_pooling", "cls") == "mean" else "first",
        dense_bias=config.get("classifier_bias", False),
        activation=activation(config, "classifier_activation"),
        norm=spec.Norm(eps=config.get("norm_eps", 1e-5), bias=config.get("norm_bias", False)),
        dropout=config.get("classifier_dropout", 0.0),
    )


def each_position(config: Config, n_labels: int) -> spec.Head:
    """The same without pooling."""
    return replace(classifier(config, n_labels), pool=None)


def masked(config: Config, _: int) -> spec.Head:
    """The prediction head that classification has, too."""
    if not config.get("decoder_bias", True):
        raise ValueError("decoder_bias is False, supported is True")
    head = classifier(config, 0)
    assert head.norm is not None
    return words(config, head.activation, head.norm, dense_bias=head.dense_bias)


WORDS = {"head.dense": "dense", "head.norm": "norm", "decoder": "out"}


HEAD = {"head.dense": "dense", "head.norm": "norm", "classifier": "out"}
FAMILY = Family(
    classes={"modernbert": "ModernBert"},
    prefix="model.",
    encoder={
        "embeddings.tok_embeddings": "embeddings.tokens",
        "embeddings.norm": "embeddings.norm",
        "layers.{}.attn_norm": "blocks.{}.attention.before",
        "layers.{}.attn.Wqkv": (
            "blocks.{}.attention.layer.query",
            "blocks.{}.attention.layer.key",
            "blocks.{}.attention.layer.value",
        ),
        "layers.{}.attn.Wo": "blocks.{}.attention.layer.out",
        "layers.{}.mlp_norm": "blocks.{}.feed_forward.before",
        "layers.{}.mlp.Wi": ("blocks.{}.feed_forward.layer.gate", "blocks.{}.feed_forward.layer.up"),
        "layers.{}.mlp.Wo": "blocks.{}.feed_forward.layer.down",
        "final_norm": "norm",
    },
    heads={
        "ForSequenceClassification": Head(HEAD, classifier),
        "ForTokenClassification": Head(HEAD, each_position),
        "ForQuestionAnswering": Head(HEAD, each_position),
        "ForMaskedLM": Head(WORDS, masked),
        "Model": POOLED,
    },
    dropped=("decoder.",),
    stack=stack,
    averaging=lambda config: {**config, "classifier_pooling": "mean"},
)
