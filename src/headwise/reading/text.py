"""Text into tokens and back, with the tokenizer a model directory brings."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, Encoding, Tokenizer
from tokenizers.processors import RobertaProcessing

from headwise.errors import InputError

Text = str | tuple[str, str]  # one text, or a pair
CHUNK = 1024  # texts tokenized at a time: their Python objects live no longer
CHARACTERS_PER_TOKEN = 64  # a tokenizer reads the whole text before it cuts, so nobody gives it four million characters

TYPES = "token_type_ids"
INPUTS = ["input_ids", TYPES, "attention_mask"]  # what a tokenizer makes, as transformers calls it
RUNS = re.compile(r"[A-Za-z0-9]+|\s+")

SPECIAL = {  # what these are called where tokenizer_config.json does not say
    "unk_token": ("[UNK]", "<unk>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}


@dataclass(frozen=True)
class Tokens:
    """b texts as numbers, end to end."""

    ids: npt.NDArray[np.int32]  # [n]
    types: npt.NDArray[np.int8]  # [n] 0, and 1 in the second text of a pair
    lengths: npt.NDArray[np.int64]  # [b]
    cut: npt.NDArray[np.int64]  # [b] tokens left out because the text was longer than the limit; see capped
    unknown_id: int | None  # stands for what the tokenizer has no entry for

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def unknown(self) -> int:
        """Of the n, how many the tokenizer had no entry for."""
        return int((self.ids == self.unknown_id).sum())

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each text begins. [b]"""
        return np.cumsum(self.lengths) - self.lengths

    def places(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where the tokens of these rows stand among the n."""
        lengths = self.lengths[rows]
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(self.starts[rows], lengths) + inside

    @staticmethod
    def joined(parts: Sequence[Tokens]) -> Tokens:
        """One after the other, all of one tokenizer."""
        columns = zip(*((part.ids, part.types, part.lengths, part.cut) for part in parts), strict=True)
        ids, types, lengths, cut = (np.concatenate(column) for column in columns)
        return Tokens(ids, types, lengths, cut, parts[0].unknown_id)

    def select(self, rows: npt.NDArray[np.int64]) -> Tokens:
        """These rows, in this order."""
        if len(self) == len(rows) == 1:
            return self
        at = self.places(rows)
        return Tokens(self.ids[at], self.types[at], self.lengths[rows], self.cut[rows], self.unknown_id)


@dataclass(frozen=True, eq=False)
class Texts(Sequence[Text]):
    """One column of text, or two side by side, as a sequence that makes its Python objects only when asked."""

    first: pa.ChunkedArray
    second: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, at: Any) -> Any:
        if self.second is None:
            return self.first[at].to_pylist() if isinstance(at, slice) else self.first[int(at)].as_py()
        if isinstance(at, slice):
            return list(zip(self.first[at].to_pylist(), self.second[at].to_pylist(), strict=True))
        return self.first[int(at)].as_py(), self.second[int(at)].as_py()

    @property
    def joined(self) -> pa.ChunkedArray:
        """One text per row, a pair as one."""
        return self.first if self.second is None else pc.binary_join_element_wise(self.first, self.second, "\0")

    def take(self, rows: npt.NDArray[np.int64]) -> Texts:
        """These rows, in this order."""
        at = pa.array(rows)
        return Texts(self.first.take(at), None if self.second is None else self.second.take(at))


class TextTokenizer:
    """A tokenizer and the files it came from.

    lock: held by whoever lets the tokenizer read, as it is told beforehand, for all that use it, where to cut.
    max_windows: of max_length tokens each, in how many of them a task of one answer reads a text at most.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: dict[str, Any],
        max_length: int,
        vocab_size: int | None = None,
        max_windows: int = 1,
        n_types: int = 2,
    ):
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer, self.lock = tokenizer, RLock()
        there = lambda word: tokenizer.token_to_id(word) is not None  # noqa: E731
        known = {role: word for role, usual in SPECIAL.items() for word in filter(there, usual)}
        self.config = known | config
        self.max_length, self.vocab_size, self.max_windows = max_length, vocab_size, max_windows
        self.typed = n_types > 1 and TYPES in config.get("model_input_names", INPUTS)

    @staticmethod
    def read(
        directory: Path, max_length: int, vocab_size: int | None = None, max_windows: int = 1, n_types: int = 2
    ) -> TextTokenizer:
        """The tokenizer of a model directory, cutting at max_length tokens, for a model of vocab_size embeddings and
        n_types types.

        Raises InputError where there is none.
        """
        config = json_object(directory / "tokenizer_config.json")
        try:
            return TextTokenizer(
                read_tokenizer(directory, config), config, max_length, vocab_size, max_windows, n_types
            )
        except InputError:
            raise
        except Exception as error:  # tokenizers raises bare Exception for a damaged file
            raise InputError(f"{directory}: the tokenizer cannot be read ({error}); fetch the model again") from None

    def encode(self, texts: Sequence[Text]) -> Tokens:
        """b texts or pairs -> Tokens, special tokens added; what is over max_length is cut and counted.

        Raises InputError for what is no text, and for a token the model has no embedding for.
        """
        parts = [self.encode_chunk(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
        ids, types, lengths, cut = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        self.refuse_foreign(ids)
        return Tokens(ids, types, lengths, cut, self.unknown_id)

    def refuse_foreign(self, ids: npt.NDArray[np.int32]) -> None:
        """Raise InputError for a token the model has no embedding for."""
        if self.vocab_size is not None and ids.max() >= self.vocab_size:
            raise InputError(
                f"the tokenizer has a token of number {ids.max()}, the model {self.vocab_size} embeddings; "
                "the two do not belong together, fetch the model again"
            )

    def encode_chunk(self, texts: Sequence[Text]) -> tuple[Any, Any, Any, Any]:
        """Some texts -> ids [n], types [n], lengths [b], cut [b]"""
        encodings, whole = self.encodings(texts)
        ids = np.concatenate([np.array(encoding.ids, np.int32) for encoding in encodings])
        types = np.concatenate([self.types_of(encoding) for encoding in encodings])
        return ids, types, np.minimum(whole, self.max_length), np.maximum(whole - self.max_length, 0)

    def encodings(self, texts: Sequence[Text]) -> tuple[list[Encoding], npt.NDArray[np.int64]]:
        """Some texts as tokenizers' own objects, cut to max_length, and how long each was before. b, [b]"""
        with self.lock:
            return self.encodings_alone(texts)

    def encodings_alone(self, texts: Sequence[Text]) -> tuple[list[Encoding], npt.NDArray[np.int64]]:
        """The same, where nobody else uses the tokenizer meanwhile."""
        try:
            capped = [self.capped(text) for text in texts]
            encodings = self.tokenizer.encode_batch(capped)
        except (TypeError, ValueError):  # how tokenizers refuses half a surrogate pair, too
            raise InputError("expected texts, or pairs of texts, in valid Unicode; found something else") from None
        parts = np.ones(len(texts))  # of each text, how many times what was read it is
        for row, text in enumerate(texts):
            if characters(capped[row]) == characters(text):
                continue
            if len(encodings[row]) > self.max_length:
                parts[row] = characters(text) / characters(capped[row])
            else:  # it holds blanks, or words of many characters
                capped[row] = self.squeezed(text)
                encodings[row] = self.tokenizer.encode_batch([capped[row]])[0]
        whole = (np.array([len(encoding) for encoding in encodings]) * parts).astype(np.int64)
        long = np.flatnonzero(whole > self.max_length)
        if len(long):
            self.tokenizer.enable_truncation(self.max_length)
            for at, encoding in zip(long, self.tokenizer.encode_batch([capped[at] for at in long]), strict=True):
                encodings[at] = encoding
            self.tokenizer.no_truncation()
        return encodings, whole

    def __getstate__(self) -> dict[str, Any]:
        """Of a pickle or a copy: a lock stays in its process."""
        return {name: value for name, value in self.__dict__.items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=RLock())

    def types_of(self, encoding: Encoding) -> npt.NDArray[np.int8]:
        """1 at tokens of the second text, where the model was made for that. [t]"""
        return np.array(encoding.type_ids, np.int8) * np.int8(self.typed)

    def capped(self, text: Text) -> Text:
        """As much of a text as could still fill max_length; how many tokens the rest has is reckoned from its size."""
        most = self.max_length * CHARACTERS_PER_TOKEN
        if isinstance(text, str):
            return text[:most]
        first, second = text
        return first[:most], second[:most]

    def squeezed(self, text: Text) -> Text:
        """The text with less of its endless blanks and words: they are no more tokens, or fill max_length anyway."""
        most = self.max_length * CHARACTERS_PER_TOKEN
        if isinstance(text, str):
            return RUNS.sub(lambda run: run[0][:most], text)
        first, second = (RUNS.sub(lambda run: run[0][:most], part) for part in text)
        return first, second

    @property
    def unknown_id(self) -> int | None:
        """The number of the token that stands for what has no entry."""
        return self.special_id("unk_token")

    @property
    def mask_id(self) -> int | None:
        """The number of the token that stands for a word one is not told."""
        return self.special_id("mask_token")

    @property
    def special_ids(self) -> list[int]:
        """The numbers of all tokens that are no part of any text."""
        added = self.tokenizer.get_added_tokens_decoder()
        roles = [self.special_id(role) for role in SPECIAL]
        return sorted({*(one for one in roles if one is not None), *(one for one in added if added[one].special)})

    def special_id(self, role: str) -> int | None:
        """The number of a special token, where there is one."""
        return self.tokenizer.token_to_id(content(self.config.get(role) or SPECIAL[role][0]))

    def write(self, directory: Path) -> None:
        """tokenizer.json and tokenizer_config.json, from which transformers makes the same tokenizer."""
        inputs = [name for name in INPUTS if name != TYPES or self.typed]
        usual = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs}
        config = {**usual, **self.config, "model_max_length": self.max_length}
        config.pop("truncation_side", None)  # texts are cut at their end, and so whoever opens it has to
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
        (directory / "tokenizer.json").write_text(self.tokenizer.to_str(pretty=True), encoding="utf-8")


def content(token: Any) -> str:
    """A special token as tokenizer_config.json writes it: a text, or an object that holds it."""
    return str(token.get("content") if isinstance(token, dict) else token)


def characters(text: Text) -> int:
    """Of a text or both of a pair."""
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


def json_object(file: Path) -> dict[str, Any]:
    """What a JSON file holds; empty where there is no such file."""
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON ({error}); fetch the file again") from None


def read_tokenizer(directory: Path, config: dict[str, Any]) -> Tokenizer:
    """tokenizer.json, or the vocabulary files of before it: BERT's word pieces, RoBERTa's byte pairs."""
    if (directory / "tokenizer.json").exists():
        return Tokenizer.from_buffer((directory / "tokenizer.json").read_bytes())
    if (directory / "vocab.txt").exists():
        return BertWordPieceTokenizer(
            str(directory / "vocab.txt"),
            lowercase=config.get("do_lower_case", True),
            strip_accents=config.get("strip_accents"),
            handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        )._tokenizer
    if (directory / "merges.txt").exists():
        pieces = ByteLevelBPETokenizer(str(directory / "vocab.json"), str(directory / "merges.txt"))._tokenizer
        sep, cls = (content(config.get(role, SPECIAL[role][1])) for role in ("sep_token", "cls_token"))
        for role, (_, usual) in SPECIAL.items():
            word = content(config.get(role, usual))
            if pieces.token_to_id(word) is not None:
                pieces.add_special_tokens([word])
        pieces.post_processor = RobertaProcessing((sep, pieces.token_to_id(sep)), (cls, pieces.token_to_id(cls)))
        return pieces
    raise InputError(
        f"{directory}: no tokenizer.json, vocab.txt or merges.txt; make one with transformers: "
        "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
    )
