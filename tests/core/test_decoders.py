"""Decoders and encoder-decoders are a table of names away: GPT-2, Llama, T5, BART and Marian, against transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MarianConfig,
    MarianModel,
    T5Config,
    T5Model,
)

from headwise.core import spec
from headwise.core.attention import Watch
from headwise.core.packed import Packed
from headwise.core.transformer import Decoder, EncoderDecoder

SOURCES, TARGETS = (1, 25, 9, 24), (13, 2, 30, 1)

GPT2 = """
    wte                        embeddings.tokens
    wpe                        embeddings.positions
    h.{}.ln_1                  blocks.{}.attention.before
    h.{}.attn.c_attn           blocks.{}.attention.layer.query  blocks.{}.attention.layer.key  blocks.{}.attention.layer.value
    h.{}.attn.c_proj           blocks.{}.attention.layer.out
    h.{}.ln_2                  blocks.{}.feed_forward.before
    h.{}.mlp.c_fc              blocks.{}.feed_forward.layer.up
    h.{}.mlp.c_proj            blocks.{}.feed_forward.layer.down
    ln_f                       norm
"""  # noqa: E501

LLAMA = """
    embed_tokens                        embeddings.tokens
    layers.{}.input_layernorm           blocks.{}.attention.before
    layers.{}.self_attn.q_proj          blocks.{}.attention.layer.query
    layers.{}.self_attn.k_proj          blocks.{}.attention.layer.key
    layers.{}.self_attn.v_proj          blocks.{}.attention.layer.value
    layers.{}.self_attn.o_proj          blocks.{}.attention.layer.out
    layers.{}.post_attention_layernorm  blocks.{}.feed_forward.before
    layers.{}.mlp.gate_proj             blocks.{}.feed_forward.layer.gate
    layers.{}.mlp.up_proj               blocks.{}.feed_forward.layer.up
    layers.{}.mlp.down_proj             blocks.{}.feed_forward.layer.down
    norm                                norm
"""

T5_SELF = """
    side.embed_tokens                                      side.embeddings.tokens
    side.block.0.layer.0.SelfAttention.relative_attention_bias  side.bias.table
    side.block.{}.layer.0.layer_norm                       side.blocks.{}.attention.before
    side.block.{}.layer.0.SelfAttention.q                  side.blocks.{}.attention.layer.query
    side.block.{}.layer.0.SelfAttention.k                  side.blocks.{}.attention.layer.key
    side.block.{}.layer.0.SelfAttention.v                  side.blocks.{}.attention.layer.value
    side.block.{}.layer.0.SelfAttention.o                  side.blocks.{}.attention.layer.out
    side.block.{}.layer.LAST.layer_norm                    side.blocks.{}.feed_forward.before
    side.block.{}.layer.LAST.DenseReluDense.wi             side.blocks.{}.feed_forward.layer.up
    side.block.{}.layer.LAST.DenseReluDense.wi_0           side.blocks.{}.feed_forward.layer.gate
    side.block.{}.layer.LAST.DenseReluDense.wi_1           side.blocks.{}.feed_forward.layer.up
    side.block.{}.layer.LAST.DenseReluDense.wo             side.blocks.{}.feed_forward.layer.down
    side.final_layer_norm                                  side.norm
"""
T5_MEMORY = """
    decoder.block.{}.layer.1.layer_norm                    decoder.blocks.{}.memory.before
    decoder.block.{}.layer.1.EncDecAttention.q             decoder.blocks.{}.memory.layer.query
    decoder.block.{}.layer.1.EncDecAttention.k             decoder.blocks.{}.memory.layer.key
    decoder.block.{}.layer.1.EncDecAttention.v             decoder.blocks.{}.memory.layer.value
    decoder.block.{}.layer.1.EncDecAttention.o             decoder.blocks.{}.memory.layer.out
"""
T5 = (
    T5_SELF.replace("side.", "encoder.").replace("LAST", "1")
    + T5_SELF.replace("side.", "decoder.").replace("LAST", "2")
    + T5_MEMORY
)

BART_SELF = """
    side.embed_tokens                        side.embeddings.tokens
    side.embed_positions                     side.embeddings.positions
    side.layernorm_embedding                 side.embeddings.norm
    side.layers.{}.self_attn.q_proj          side.blocks.{}.attention.layer.query
    side.layers.{}.self_attn.k_proj          side.blocks.{}.attention.layer.key
    side.layers.{}.self_attn.v_proj          side.blocks.{}.attention.layer.value
    side.layers.{}.self_attn.out_proj        side.blocks.{}.attention.layer.out
    side.layers.{}.self_attn_layer_norm      side.blocks.{}.attention.after
    side.layers.{}.fc1                       side.blocks.{}.feed_forward.layer.up
    side.layers.{}.fc2                       side.blocks.{}.feed_forward.layer.down
    side.layers.{}.final_layer_norm          side.blocks.{}.feed_forward.after
"""
BART_MEMORY = """
    decoder.layers.{}.encoder_attn.q_proj      decoder.blocks.{}.memory.layer.query
    decoder.layers.{}.encoder_attn.k_proj      decoder.blocks.{}.memory.layer.key
    decoder.layers.{}.encoder_attn.v_proj      decoder.blocks.{}.memory.layer.value
    decoder.layers.{}.encoder_attn.out_proj    decoder.blocks.{}.memory.layer.out
    decoder.layers.{}.encoder_attn_layer_norm  decoder.blocks.{}.memory.after
"""
BART = BART_SELF.replace("side.", "encoder.") + BART_SELF.replace("side.", "decoder.") + BART_MEMORY


def fill(ours: nn.Module, theirs: nn.Module, table: str) -> nn.Module:
    """Copy every weight the table names; every one of ours must be named, and every one of theirs used."""
    stored, empty, used = theirs.state_dict(), dict(ours.state_dict()), set()
    for name, part in theirs.named_modules():
        if type(part).__name__ == "Conv1D":  # GPT-2 keeps its matrices the other way round
            stored[f"{name}.weight"] = part.weight.T
    for source, *targets in (row.split() for row in table.splitlines() if row):
        for layer in range(2) if "{}" in source else [0]:
            for leaf in ("weight", "bias"):
                name = f"{source.format(layer)}.{leaf}"
                if name in stored and f"{targets[0].format(layer)}.{leaf}" in ours.state_dict():
                    used.add(name)
                    for target, part in zip(targets, stored[name].chunk(len(targets)), strict=True):
                        place = empty.pop(f"{target.format(layer)}.{leaf}")
                        assert place.shape == part.shape, name
                        place.copy_(part)
    assert not empty
    learned = {name for name, part in theirs.named_parameters(remove_duplicate=False) if part.requires_grad}
    assert learned - used <= {"shared.weight"}  # the tokens once more
    return ours.eval()


def real(padded: Tensor, ids: Packed) -> Tensor:
    """Theirs [b t …] without the padding -> [n …]"""
    return torch.cat([row[:length] for row, length in zip(padded, ids.lengths.each, strict=True)])


SIZES: dict[str, Any] = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
OUTSIDE = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}


def gpt2() -> tuple[nn.Module, Decoder, str]:
    attention = spec.Attention(4, 4, 8, causal=True)
    block = spec.Block(attention, feed_forward=spec.FeedForward(128, "gelu_tanh"), pre_norm=True)
    embeddings = spec.Embeddings(60, 32, 1.0, "learned", 40)
    ours = Decoder(spec.Stack(32, embeddings, (block,) * 2, final_norm=spec.Norm()))
    return GPT2Model(GPT2Config(**SIZES, **OUTSIDE, n_positions=40)), ours, GPT2


def llama() -> tuple[nn.Module, Decoder, str]:
    """Two heads for keys and values, four for queries."""
    attention = spec.Attention(4, 2, 8, bias=False, out_bias=False, causal=True, rotary=300.0)
    feed_forward, rms = spec.FeedForward(48, "silu", gated=True, bias=False), spec.Norm("rms", 1e-6)
    block = spec.Block(attention, feed_forward=feed_forward, norm=rms, pre_norm=True)
    ours = Decoder(spec.Stack(32, spec.Embeddings(60, 32, 1.0, None), (block,) * 2, final_norm=rms))
    rotary = {"rope_type": "default", "rope_theta": 300.0}
    sizes = {"intermediate_size": 48, "num_key_value_heads": 2, "rope_parameters": rotary}
    return LlamaModel(LlamaConfig(**SIZES, **OUTSIDE, **sizes)), ours, LLAMA


def t5(kind: str) -> tuple[nn.Module, EncoderDecoder, str]:
    """A relative bias in both stacks, norms by the root mean square, scores not scaled, heads wider than d_model."""
    rms = spec.Norm("rms", 1e-6)
    activation = {"relu": "relu", "gated-gelu": "gelu_tanh"}[kind]

    def stack(decoder: bool) -> spec.Stack:
        attention = spec.Attention(4, 4, 12, bias=False, out_bias=False, causal=decoder, scaled=False)
        memory = spec.Attention(4, 4, 12, bias=False, out_bias=False, scaled=False) if decoder else None
        feed_forward = spec.FeedForward(48, activation, gated=kind != "relu", bias=False)
        block = spec.Block(attention, memory, feed_forward, rms, pre_norm=True)
        bias = spec.RelativeBias(8, 16, two_sided=not decoder)
        return spec.Stack(32, spec.Embeddings(60, 32, 1.0, None), (block,) * 2, bias, rms)

    sizes = {"d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 60}
    bias = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 16}
    theirs = T5Model(T5Config(**sizes, **bias, feed_forward_proj=kind, decoder_start_token_id=0))
    return theirs, EncoderDecoder(stack(False), stack(True)), T5


def bart_like(config: type, model: type, embeddings: spec.Embeddings, activation: str, **changes: Any):
    """The original's blocks: norm after each sum, and places at the start."""

    def stack(decoder: bool) -> spec.Stack:
        memory = spec.Attention(4, 4, 8) if decoder else None
        feed_forward = spec.FeedForward(48, activation)
        return spec.Stack(
            32, embeddings, (spec.Block(spec.Attention(4, 4, 8, causal=decoder), memory, feed_forward),) * 2
        )

    sizes: dict[str, Any] = {"d_model": 32, "vocab_size": 60, "max_position_embeddings": 40}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 48}
    tokens = OUTSIDE | {"decoder_start_token_id": 1, "forced_eos_token_id": 1}
    return model(config(**sizes, **tokens, **changes)), EncoderDecoder(stack(False), stack(True)), BART


def bart() -> tuple[nn.Module, EncoderDecoder, str]:
    """Places counted from 2, and a norm on the embeddings."""
    embeddings = spec.Embeddings(60, 32, 1.0, "learned", 40, 2, norm=spec.Norm())
    return bart_like(BartConfig, BartModel, embeddings, "gelu")


def marian() -> tuple[nn.Module, EncoderDecoder, str]:
    """Sines and cosines, and embeddings scaled by the root of d_model, as in the original."""
    embeddings = spec.Embeddings(60, 32, 32**0.5, "sinusoidal")
    changes = {"scale_embedding": True, "activation_function": "swish"}
    return bart_like(MarianConfig, MarianModel, embeddings, "silu", **changes)


@torch.no_grad()
@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_decoder_by_itself(make, redraw, ragged, difference):
    theirs, ours, table = make()
    fill(ours, redraw(theirs), table)
    ids, padded = ragged(TARGETS)
    assert difference(ours(ids).data, real(theirs(**padded).last_hidden_state, ids)) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("sources", [SOURCES, (7, 7, 7, 7)], ids=["ragged sources", "even sources"])
@pytest.mark.parametrize(
    "make", [lambda: t5("relu"), lambda: t5("gated-gelu"), bart, marian], ids=["t5", "t5 1.1", "bart", "marian"]
)
def test_an_encoder_and_a_decoder(make, sources, redraw, ragged, difference):
    theirs, ours, table = make()
    theirs.set_attn_implementation("eager")
    fill(ours, redraw(theirs), table)
    (source, padded), (target, shifted) = ragged(sources), ragged(TARGETS, seed=1)
    decoder = {f"decoder_{name}": value for name, value in shifted.items()}
    wanted = theirs(**padded, **decoder, output_attentions=True)
    watch = Watch()
    assert difference(ours.encoder(source).data, real(wanted.encoder_last_hidden_state, source)) < 1e-5
    assert difference(ours(source, target, watch).data, real(wanted.last_hidden_state, target)) < 1e-5
    for row, (t, s) in enumerate(zip(TARGETS, sources, strict=True)):
        assert difference(watch.attention[1][row], wanted.decoder_attentions[1][row, :, :t, :t]) < 1e-5
        assert difference(watch.memory[1][row], wanted.cross_attentions[1][row, :, :t, :s]) < 1e-5
