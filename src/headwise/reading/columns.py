"""Which columns hold the text, its pair and the label: as given, by their usual names, or by what they hold."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa
import pyarrow.compute as pc

from headwise.errors import InputError, excerpt, listing
from headwise.reading.records import Records

# Usual names, the likeliest first; compared without regard to case, blanks, hyphens and underscores.
_PAIRS = (
    ("text_a", "text_b"), ("text1", "text2"), ("sentence1", "sentence2"), ("sentence_a", "sentence_b"),
    ("question1", "question2"), ("premise", "hypothesis"), ("query", "passage"), ("query", "document"),
    ("question", "context"), ("question", "passage"), ("question", "paragraph"),
    ("问题", "文章"), ("问题", "段落"), ("问题", "上下文"), ("问题", "篇章"), ("问题", "原文"), ("查询", "文档"),
    ("anchor", "positive"), ("question", "answer"),
    ("文本1", "文本2"), ("句子1", "句子2"), ("问题1", "问题2"), ("文本a", "文本b"), ("句子a", "句子b"),
    ("问题", "答案"), ("问题", "回答"),
)  # fmt: skip
_TEXTS = (
    "text", "sentence", "content", "review", "review_text", "review_body", "comment", "message", "utterance", "query",
    "question", "headline", "title", "body", "tweet", "post", "document", "description", "tokens", "words",
    "texts", "sentences",
    "文本", "内容", "句子", "评论", "评论内容", "评价", "留言", "正文", "新闻", "标题", "问题", "字", "词",
)  # fmt: skip
_LABELS = (
    "label", "labels", "target", "class", "category", "intent", "sentiment", "topic", "stars", "rating", "score", "y",
    "tags", "ner_tags", "ner", "tag", "entities", "spans", "answers", "answer",
    "gold_label", "is_duplicate", "similarity", "similarity_score", "relatedness_score",
    "标签", "类别", "分类", "意图", "情感", "情感倾向", "情感标签", "类型", "主题", "星级", "评分", "答案", "回答",
    "标注", "实体",
)  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """The columns in use: pair is a second text, label is None where none is needed. notes say what was guessed."""

    text: str
    pair: str | None
    label: str | None
    notes: tuple[str, ...]

    @property
    def target(self) -> str:
        """The label column, of columns that were chosen because one is needed."""
        assert self.label is not None
        return self.label


def choose_columns(
    records: Records,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    *,
    need_label: bool | None = True,
) -> Columns:
    """The columns given, the others by their usual names, and, of two columns, the label by its repeated values.

    need_label None: one is taken where it has a usual name; else it is said which columns were passed over.

    Raises InputError where a given column does not exist or is given twice, or where one that is needed is not found.
    """
    given = [name for name in (text, pair, label) if name is not None]
    for name in given:
        _refuse_unknown(records, name)
        if given.count(name) > 1:
            raise InputError(
                f"{records.path}: column {excerpt(name)} is given twice; give a column of its own for each"
            )
    free = [name for name in records.columns if name not in given]
    found_text, found_pair, found_label = text, pair, label
    if text is None and pair is None:
        found_text, found_pair = _usual_pair(free)
    found_text = found_text or _usual([*_TEXTS, *(first for first, _ in _PAIRS)], free)
    found_label = found_label or _usual(_LABELS, [name for name in free if name not in (found_text, found_pair)])
    reason = "by name"
    if found_text is None or (found_label is None and need_label):
        found_text, found_label = _by_content(records, found_text, found_label, found_pair, bool(need_label))
        reason = "by what the columns hold"
    if found_text is None or (found_label is None and need_label):
        raise _undecided(records, found_text, found_label, bool(need_label))
    guesses = [
        ("text", text, found_text),
        ("pair", pair, found_pair),
        ("label", label, None if need_label is False else found_label),
    ]
    words = [f"{role} column: {found}" for role, asked, found in guesses if found is not None and asked is None]
    notes = [f"{', '.join(words)} (guessed {reason})"] if words else []
    if label is None and found_label is not None and reason != "by name" and _holds(records, found_label):
        notes.append(
            f"{excerpt(found_label)} is the name of the label column and one of its labels; if the table has no names, "
            "its first row was taken for them: write a line such as text,label above it"
        )
    others = [name for name in free if name not in (found_text, found_pair)]
    if need_label is None and found_label is None and others:
        notes.append(f"no label column; not used: {listing(others)}; name one with --label-column if it says more")
    return Columns(found_text, found_pair, found_label, tuple(notes))


def _refuse_unknown(records: Records, name: str) -> None:
    if name not in records.columns:
        close = get_close_matches(name, records.columns, 1)
        hint = f"; did you mean {excerpt(close[0])}?" if close else "; give one of these"
        raise InputError(f"{records.path}: no column {excerpt(name)}, its columns are {listing(records.columns)}{hint}")


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _usual(usual: Iterable[str], names: Sequence[str]) -> str | None:
    """The name that comes first among the usual ones."""
    by_key = {_key(name): name for name in reversed(names)}  # of two that differ only in case, the first
    return next((by_key[_key(name)] for name in usual if _key(name) in by_key), None)


def _usual_pair(names: Sequence[str]) -> tuple[str | None, str | None]:
    pairs = ((_usual([first], names), _usual([second], names)) for first, second in _PAIRS)
    return next((pair for pair in pairs if None not in pair), (None, None))


def _by_content(
    records: Records, text: str | None, label: str | None, pair: str | None, need_label: bool
) -> tuple[str | None, str | None]:
    """The text and label with what is missing found among at most two columns left; else as they were."""
    left = [name for name in records.columns if name not in (text, label, pair)]
    repeated = [name for name in left if _repeats(records.table[name])]
    if len(left) == 2 and len(repeated) == 1 and text is None and label is None:
        return next(name for name in left if name not in repeated), repeated[0]
    if len(left) == 1 and text is None and (label is not None or not need_label):
        return left[0], label
    if repeated == left and len(left) == 1 and text is not None:
        return text, left[0]
    return text, label


def _repeats(values: pa.ChunkedArray) -> bool:
    """Whether the values come twice or more on average, as labels do."""
    return bool(pa.types.is_string(values.type) and 2 * pc.count_distinct(values).as_py() <= len(values))


def _holds(records: Records, name: str) -> bool:
    """Whether a column of text holds its own name."""
    values = records.table[name]
    return bool(pa.types.is_string(values.type) and pc.any(pc.equal(values, name)).as_py())


def _undecided(records: Records, text: str | None, label: str | None, need_label: bool) -> InputError:
    missing = {"text": text is None, "label": label is None and need_label}
    roles = " and ".join(f"the {role}" for role in missing if missing[role])
    options = " and ".join(f"--{role}-column" for role in missing if missing[role])
    if len(records.columns) == 1 and (found := re.search("[，；、]", records.columns[0])):
        return InputError(
            f"{records.path}: one column only, {excerpt(records.columns[0])}; if {found[0]} is to part columns, "
            "write a comma in its place, in every line"
        )
    lists = [name for name in records.columns if records.has_lists(name)]
    if len(records) == 1 and lists:
        return InputError(
            f"{records.path}: one row only, in which {listing(lists)} is a list; where that is the rows, write "
            "the list alone: an array of objects"
        )
    pairs = " (and --pair-column where a row holds two texts)" if text is None else ""
    return InputError(
        f"{records.path}: cannot tell which column holds {roles}, its columns are {listing(records.columns)}; "
        f"name {options}{pairs}"
    )
