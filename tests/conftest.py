"""What the tests share: a quiet machine without a network, and tiny transformers models to be compared with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import string
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from safetensors.torch import save_file
from torch import Tensor, nn

from headwise.core.packed import Packed

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
torch.set_num_threads(1)  # a tiny model is slower on two
settings.register_profile("light", max_examples=20, deadline=None, database=None)
settings.load_profile("light")

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,  # ModernBERT: all, near, near, all
    "vocab_size": 60,
    "max_position_embeddings": 48,
}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "DistilBert": {"dim": 32, "hidden_dim": 48, "n_heads": 4, "n_layers": 3, "seq_classif_dropout": 0.1},
    "Electra": {"embedding_size": 16},
    "ModernBert": {"pad_token_id": 0, "local_attention": 8}
    | dict.fromkeys(["bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"], 1)
    | dict.fromkeys(["attention_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"], 0.1),
}


@torch.no_grad()
def redraw_all(model: nn.Module, std: float = 0.2, norms: float = 1.0) -> nn.Module:
    """Every learned parameter anew, so that no norm is left at 1, no bias at 0 and no two alike.

    From N(0, std²); a norm's weight from N(norms, std²), or little of what a sequence says would reach the logits and
    a wrong model could pass at 1e-5.
    """
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        for name, parameter in part.named_parameters(recurse=False):
            centre = norms if "Norm" in type(part).__name__ and name == "weight" else 0.0
            if parameter.requires_grad:
                parameter.normal_(centre, std, generator=generator)
    return model.eval()


def make_tiny(name: str, head: str = "ForSequenceClassification", **changes: Any) -> nn.Module:
    """A transformers model with redrawn parameters; name is how its classes begin: Bert, XLMRoberta."""
    import transformers

    draws = {key: changes.pop(key) for key in ("std", "norms") if key in changes}
    config = SIZES | OWN_SIZES.get(name, {}) | {"num_labels": 3} | changes
    if name == "DistilBert":
        config = {key: value for key, value in config.items() if key not in SIZES or key.startswith(("voc", "max"))}
    return redraw_all(getattr(transformers, name + head)(getattr(transformers, name + "Config")(**config)), **draws)


def draw_ragged(lengths: tuple[int, ...] = (1, 7, 30, 30, 12), pad: int = 0, seed: int = 0) -> tuple[Packed, dict]:
    """The same sequences of random ids twice: packed, and padded with a mask as transformers wants them."""
    generator = torch.Generator().manual_seed(seed)
    ids = Packed.of([torch.randint(5, 60, (length,), generator=generator) for length in lengths])
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(part) for part in ids.unpack()], batch_first=True)
    padded = nn.utils.rnn.pad_sequence(list(ids.unpack()), batch_first=True, padding_value=pad)
    return ids, {"input_ids": padded, "attention_mask": mask}


def spell(ids: Tensor, sides: int = 1) -> Any:
    """Ids as one input in words of one and of two pieces, between special tokens; two sides are halves of it."""
    from headwise.insight.question import Pieces, Word

    places = np.arange(len(ids))
    cuts = np.linspace(0, len(ids) - 1, sides + 1).astype(int)
    side = (places > cuts[1]).astype(np.int64)
    word_of = places * 2 // 3
    word_of[cuts] = -1
    _, word_of[word_of >= 0] = np.unique(word_of[word_of >= 0], return_inverse=True)
    first = [int(np.flatnonzero(word_of == word)[0]) for word in range(word_of.max() + 1)]
    words = tuple(Word(f"w{word}", at, at + 1, int(side[at])) for word, at in enumerate(first))
    texts = tuple(" ".join(word.text for word in words if word.side == number) for number in range(sides))
    names = tuple(map(str, ids.tolist()))
    return Pieces(texts if sides == 2 else texts[0], ids.numpy(), side, names, words, word_of)


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two numbers, as a part of the largest number."""
    assert ours.shape == theirs.shape, f"{list(ours.shape)} is not {list(theirs.shape)}"
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6)).item()


@pytest.fixture(scope="session")
def redraw() -> Callable[..., nn.Module]:
    return redraw_all


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Any]:
    return make_tiny


@pytest.fixture(scope="session")
def ragged() -> Callable[..., tuple[Packed, dict]]:
    return draw_ragged


@pytest.fixture(scope="session")
def spelled() -> Callable[..., Any]:
    return spell


@pytest.fixture(scope="session")
def difference() -> Callable[[Tensor, Tensor], float]:
    return largest_difference


@pytest.fixture(scope="session")
def traced_once(tmp_path_factory) -> Callable[..., None]:
    """write_graph, which traces each model but once: that takes longer than all that is tried on a graph."""
    from headwise.families.graph import write_graph

    kept = tmp_path_factory.mktemp("graphs")

    def write(directory: Path, checkpoint: Any, engine: Any) -> None:
        model = checkpoint.model
        known = hashlib.sha256(repr((engine, checkpoint.purpose, model.encoder.spec, model.head.spec)).encode())
        for weight in model.state_dict().values():
            known.update(weight.numpy().tobytes())
        place = kept / known.hexdigest()
        if not place.exists():
            with TemporaryDirectory(dir=kept) as new:
                write_graph(Path(new), checkpoint, engine)
                shutil.copytree(new, place)
        shutil.copytree(place, directory, dirs_exist_ok=True)

    return write


# The fine-tuning pipeline starts from a model directory with a tokenizer, as it comes from the hub.

FILMS = [
    ("a fine film , warm and funny", "good"),
    ("dull , slow and far too long", "bad"),
    ("she smiles and the music plays", "good"),
    ("nothing works in this story", "bad"),
    ("这部电影很好看", "good"),
    ("情节无聊,演员糟糕", "bad"),
    ("we laughed all the way home", "good"),
    ("i left before the end", "bad"),
]
SPECIAL = {
    "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
}


def word_pieces(texts: Sequence[str], special: Sequence[str]) -> dict[str, int]:
    """A vocabulary of the texts' words and characters; a trained one is another in every process."""
    from tokenizers import BertWordPieceTokenizer

    plain = BertWordPieceTokenizer()._tokenizer
    cut = [plain.pre_tokenizer.pre_tokenize_str(plain.normalizer.normalize_str(text)) for text in texts]
    words = {word for found in cut for word, _ in found}
    characters = {character for word in words for character in word} | set(string.ascii_lowercase + string.digits)
    characters -= {"q", "z"}  # something has to be unknown
    names = [*special, *sorted(characters), *sorted(f"##{one}" for one in characters), *sorted(words - characters)]
    return {name: number for number, name in enumerate(names)}


def make_directory(family: str, directory: Path) -> Path:
    """A randomly drawn encoder of 2 layers of 32, without a head, with a tokenizer that knows the words of FILMS.

    Both kinds of tokenizer files are there: tokenizer.json, and the vocabulary files of before it.
    """
    import transformers
    from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing, TemplateProcessing

    texts, special = [text for text, _ in FILMS], SPECIAL[family]
    directory.mkdir()
    name = {"bert": "Bert", "roberta": "Roberta"}[family]
    if family == "bert":
        tokenizer = BertWordPieceTokenizer(word_pieces(texts, special))
    else:
        tokenizer = ByteLevelBPETokenizer()
        tokenizer.train_from_iterator(texts, 400, 1, special_tokens=special, show_progress=False)
    tokenizer.save_model(str(directory))
    if family == "bert":
        numbers = [(word, tokenizer.token_to_id(word)) for word in ("[CLS]", "[SEP]")]
        ends = TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=numbers)
    else:
        ends = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer._tokenizer.post_processor = ends
    tokenizer.save(str(directory / "tokenizer.json"))
    roles = {role: next(word for word in special if role in word.lower()) for role in ("unk", "pad", "mask")}
    roles |= dict(zip(("cls", "sep"), special[2:4] if family == "bert" else ("<s>", "</s>"), strict=True))
    about = {"tokenizer_class": f"{name}Tokenizer"} | {f"{role}_token": word for role, word in roles.items()}
    (directory / "tokenizer_config.json").write_text(json.dumps(about))
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=tokenizer.get_vocab_size(),
        pad_token_id=tokenizer.token_to_id(roles["pad"]),
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=66,
        initializer_range=0.2,
    )
    model = getattr(transformers, f"{name}Model")(config)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, directory / "model.safetensors")
    config.save_pretrained(directory)
    return directory


def write_table(path: Path, rows: Sequence[Sequence[Any]], *names: str) -> Path:
    """A .tsv of text and label, or of the columns named, or a .jsonl of the same."""
    names = names or ("text", "label")
    if path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows]
    else:
        lines = ["\t".join(names), *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def directory_of(tmp_path_factory) -> Callable[[str], Path]:
    """The model directory of a family, made once; copy it before changing it."""
    place = tmp_path_factory.mktemp("models")
    return cache(lambda family: make_directory(family, place / family))


@pytest.fixture(scope="session")
def films() -> list[tuple[str, str]]:
    return FILMS


@pytest.fixture(scope="session")
def table() -> Callable[..., Path]:
    return write_table


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line here: exit status, standard output, standard error."""
    from headwise.cli import main
    from headwise.core.plain import VARIABLE

    monkeypatch.setenv(VARIABLE, "auto")  # as it was afterwards too, whatever a command chooses

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["headwise", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; tests that want it are skipped where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    names = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
    with sync_api.sync_playwright() as playwright:
        flags = [f"--{name}" for name in (*names.split(), "disable-sync")]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()
