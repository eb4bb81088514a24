"""Reading and writing tables: nothing guessed unsaid, nothing changed, every mistake named with its file and line."""

import errno
import gzip
import json
import os
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwise.errors import InputError
from headwise.reading import from_columns, read, write
from headwise.reading.writing import whole_file


@pytest.fixture
def file(tmp_path):
    """Makes a file of these bytes (or this text, as UTF-8) and gives its path."""

    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return make


def refused(path, *words, **options):
    """Reading raises one line that begins with the path and holds the words."""
    with pytest.raises(InputError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(path)
    assert len(message.splitlines()) == 1
    assert len(message) < len(path) + 400
    for word in words:
        assert word in message, message


def parquet(tmp_path, **columns):
    path = str(tmp_path / "x.parquet")
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


# What is read


def test_text_stays_as_it_is(file):
    records = read(file("x.csv", "text,label\nNA,01\nnull,1\n,1.0\n nan ,true\n"))
    assert records.table.to_pydict() == {"text": ["NA", "null", "", " nan "], "label": ["01", "1", "1.0", "true"]}
    assert (records.columns, len(records), records.notes) == (("text", "label"), 4, ())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_quotes_as_rfc_4180(file, end):
    content = end.join(['text,"the ""label"""', '"a, ""b""",1', f'"two{end}lines",2', '5" disk,3', ""])
    expected = {"text": ['a, "b"', f"two{end}lines", '5" disk'], 'the "label"': ["1", "2", "3"]}
    assert read(file("x.csv", content)).table.to_pydict() == expected


def test_tsv_has_no_quoting_unless_asked(file):
    path = file("x.tsv", 'text\tlabel\n"good" film\t1\n"\t2\n')
    assert read(path).table["text"].to_pylist() == ['"good" film', '"']
    assert read(file("y.tsv", 'text\tlabel\n"a\tb"\t1\n'), quote=True).table["text"].to_pylist() == ["a\tb"]
    assert read(file("z.csv", 'text,label\n"a,1\n'), quote=False).table["text"].to_pylist() == ['"a']


@pytest.mark.parametrize(("delimiter", "word"), [(";", ";"), ("\t", "tab"), ("|", "|")])
def test_another_delimiter_is_found_and_said(file, delimiter, word):
    records = read(file("x.csv", f"text{delimiter}label\na, b{delimiter}1\n"))
    assert records.table["text"].to_pylist() == ["a, b"]
    assert records.notes == (f"{records.path}: delimiter {word} (the header has no comma)",)


def test_a_given_delimiter_is_used(file):
    assert read(file("x.csv", "a,b;c\n1,2;3\n"), delimiter=";").columns == ("a,b", "c")


def test_jsonl_values_become_text(file):
    path = file(
        "x.jsonl",
        '{"text": "NA", "label": 1.0e1}\n{"label": true, "text": ""}\n\n{"text": 7, "label": "01"}',
    )
    assert read(path).table.to_pydict() == {"text": ["NA", "", "7"], "label": ["1.0e1", "true", "01"]}


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_objects_is_read_as_its_lines_are(file, indent):
    rows = [{"a": "好 [{", "b": ["1", "2"]}, {"a": '"', "b": []}]
    lines = read(file("x.jsonl", "\n".join(map(json.dumps, rows))))
    array = read(file("x.json", json.dumps(rows, indent=indent)))
    objects = read(file("y.json", "\n".join(json.dumps(row, indent=2) for row in rows)))
    assert array.table == lines.table == objects.table
    assert [array.where(row)[-6:] for row in (0, 1)] == (
        ["line 1", "line 1"] if indent is None else ["line 2", "line 9"]
    )


def test_jsonl_lists_and_nested_values(file):
    rows = [{"tokens": ["a", 1], "qas": [], "n": 1}, {"tokens": [], "qas": [{"id": 1}], "n": 2}]
    for name in ("x.jsonl", "x.ndjson", "x.json"):
        records = read(file(name, "\n".join(map(json.dumps, rows))))
        qas = [[], ['{"id": "1"}']]
        assert records.table.to_pydict() == {"tokens": [["a", "1"], []], "qas": qas, "n": ["1", "2"]}
        assert records.notes == (f"{records.path}: columns 'qas' hold nested values, read as JSON",)


def test_parquet_values_become_text(tmp_path):
    path = parquet(
        tmp_path,
        text=pa.array(["NA", ""]).dictionary_encode(),
        flag=[True, False],
        number=[1, 2],
        score=[0.5, 1.0],
        tags=[["a"], []],
        deep=[{"a": 1}, {"a": 2}],
    )
    records = read(path)
    assert records.table.to_pydict() == {
        "text": ["NA", ""],
        "flag": ["true", "false"],
        "number": ["1", "2"],
        "score": ["0.5", "1.0"],
        "tags": [["a"], []],
        "deep": ['{"a": 1}', '{"a": 2}'],
    }
    assert "columns 'deep' hold nested values, read as JSON" in records.notes[0]
    assert records.where(1) == f"{path}, row 2"


@pytest.mark.parametrize("name", ["x.csv.gz", "X.TSV.GZ", "x.jsonl.gz"])
def test_gz(file, name):
    content = '{"a": "好"}\n' if "jsonl" in name else "a\n好\n"
    assert read(file(name, gzip.compress(content.encode()))).table.to_pydict() == {"a": ["好"]}


def test_200_000_rows_without_a_python_object_each(file):
    path = file("x.csv", "text,label\n" + "".join(f"a text of some words {row},{row % 7}\n" for row in range(200_000)))
    tracemalloc.start()
    records = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * os.path.getsize(path)  # the bytes and their check; 200,000 texts alone take 16 MB
    assert (len(records), records.table.schema.types) == (200_000, [pa.string(), pa.string()])
    assert records.table["text"][199_999].as_py() == "a text of some words 199999"


def test_a_row_longer_than_a_block(file):
    text = "long " * 5_000_000
    assert read(file("x.csv", f"text,label\n{text},1\nshort,2\n")).table["text"][0].as_py() == text


# Lines


def test_lines_with_quoted_newlines_and_blank_lines(file):
    path = file("x.csv", '\ntext,label\n"a\r\nb",1\n\n\r\nc,2\n"d\n\n",3\ne,4')
    records = read(path)
    assert [records.line(row) for row in range(4)] == [3, 7, 8, 11]
    assert records.where(1) == f"{path}, line 7"
    chosen = records.select(np.array([3, 1])).select(np.array([1, 0]))
    assert chosen.table["text"].to_pylist() == ["c", "e"]
    assert [chosen.line(0), chosen.line(1)] == [7, 11]


def test_a_blank_line_in_one_column_is_an_empty_text(file):
    records = read(file("x.csv", "text\n\na\n"))
    assert records.table["text"].to_pylist() == ["", "a"]
    assert [records.line(0), records.line(1)] == [2, 3]


def test_lines_of_jsonl(file):
    records = read(file("x.jsonl", '\n{"a": "1"}\r\n \n{"a": "2"}'))
    assert [records.line(0), records.line(1)] == [2, 4]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text('a",;\n\r', max_size=5), min_size=1, max_size=6))
def test_the_line_of_every_row_is_right(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("lines") / "x.csv"
    write(path, {"text": texts, "row": list(map(str, range(len(texts))))})
    records, content = read(path), path.read_bytes().decode()
    for row in range(len(texts)):
        lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        rest = "\n".join(lines[records.line(row) - 1 :]) + "\n"
        assert rest.endswith(f",{row}\n") or f",{row}\n" in rest
        assert row == 0 or f",{row - 1}\n" not in rest


# Encodings

REVIEWS = "text,label\n房间很干净，服务也不错！,好评\n早餐一般，不会再来了……,差评\n"


def test_gb18030_is_found_and_said(file):
    records = read(file("x.csv", REVIEWS.encode("gb18030")))
    assert records.table["label"].to_pylist() == ["好评", "差评"]
    assert records.notes == (f"{records.path}: encoding GB18030 (not valid UTF-8)",)


@pytest.mark.parametrize(
    "text", [REVIEWS, "text,label\nplain words,1\n", "text,label\n一一一一一一,1\n一,2\n" + REVIEWS]
)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_found_and_said(file, text, encoding):
    records = read(file("x.csv", text.encode(encoding)))
    assert records.columns == ("text", "label")
    assert records.table["text"].to_pylist() == read(file("y.csv", text)).table["text"].to_pylist()
    assert records.notes == (f"{records.path}: encoding UTF-16",)


def test_a_byte_order_mark_is_said_and_not_part_of_a_name(file):
    records = read(file("x.csv", REVIEWS.encode("utf-8-sig")))
    assert records.columns == ("text", "label")
    assert records.notes == (f"{records.path}: encoding UTF-8 with a byte order mark",)


def test_the_word_to_excel_above_the_names_is_told(file):
    refused(file("x.csv", "sep=;\r\ntext;label\r\na;b\r\n"), "line 1: a word to Excel", "delete the line")


def test_damaged_gb18030_is_said_where_it_is_damaged(file):
    data = REVIEWS.encode("gb18030") + b"\xd5\xff,good\n" + REVIEWS.split("\n", 1)[1].encode("gb18030")
    line = REVIEWS.count("\n") + 1
    with pytest.raises(InputError, match=f"x.csv, line {line}: byte 0xD5 .byte 1 of the line. is not valid GB18030"):
        read(file("x.csv", data))


def test_empty_columns_behind_the_last_name_are_left_out_and_others_are_not(file):
    records = read(file("x.csv", "text,label,,\na,b,,\n\nc,d, ,\n"))
    assert records.table.to_pylist() == [{"text": "a", "label": "b"}, {"text": "c", "label": "d"}]
    assert records.notes[-1].endswith("left out 2 columns with neither a name nor a value") and records.line(1) == 4
    with pytest.raises(InputError, match=r"y.csv, line 3: 'x' in column 4, which has no name; name it"):
        read(file("y.csv", "text,label,,\na,b,,\nc,d,,x\n"))
    with pytest.raises(InputError, match=r"line 2: 2 fields, expected 4 \('text', 'label'\)"):
        read(file("z.csv", "text,label,,\na,b\n"))


def test_damaged_utf8_is_not_taken_for_gb18030(file):
    damaged = REVIEWS.encode().replace("餐".encode(), "餐".encode()[:2])
    refused(file("x.csv", damaged), "line 3", "byte 0xE9", "mostly UTF-8", "repair")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("name,city\nMüller,Köln\nJörg,München\n", "latin-1"),
        ("text,label\nОчень хороший фильм,да\n", "cp1251"),
        ("text,label\n這個房間的服務很好,好\n早餐也不錯我們還會再來,好\n", "big5"),
        ("text,label\nこの部屋はとても良い,良\n", "shift-jis"),
    ],
)
def test_other_encodings_are_not_taken_for_gb18030(file, text, encoding):
    refused(file("x.csv", text.encode(encoding)), "line 2", "byte 0x", "iconv")


def test_broken_utf16(file):
    refused(file("x.csv", "text\na\n".encode("utf-16") + b"\0"), "UTF-16", "byte 17", "save the file again")


# Refusals


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", "a,b\n1,2\n3,4\0\n", ["line 3", "NUL", "remove"]),
        ("x.csv", "", ["empty", "header"]),
        ("x.jsonl", " \n\n", ["empty"]),
        ("x.csv", "a,b\n\n", ["no rows"]),
        ("x.xlsx", "", [".xlsx", ".csv"]),
        ("x", "", ["no extension"]),
        ("x.parquet.gz", "", [".parquet.gz"]),
        ("x.csv.gz", gzip.compress(b"a\n1\n", mtime=0)[:-6], ["gzip", "again"]),
        ("x.csv.gz", "a,b\n1,2\n", ["gzip", "again"]),
        ("x.parquet", "PAR1 and no more", ["Parquet", "again"]),
        ("x.csv", "\na,b,a\n1,2,3\n", ["line 2", "two columns", "'a'"]),
        ("x.csv", "a, ,c\n1,2,3\n", ["line 1", "column 2 has no name", "no name"]),
        ("x.csv", '"a\n\nb",c\n1,2\n1,2,3\n', ["line 5", "3 fields", "expected 2", "quotation marks", "--delimiter"]),
        ("x.tsv", "a\tb\n1\t2\n\n1\n", ["line 4", "1 fields", "expected 2", "'\\t'"]),
        ("x.csv", 'a,b\n1,2\n"3,4\n5,6\n', ["line 3", "never closed", "--no-quote"]),
        ("x.csv", 'a,b\n1,"2\n3,"4"\n', ["line 2", "behind a closing", "--no-quote"]),
        ("x.csv", 'a,b\n1,"2"3\n', ["line 2", "behind a closing"]),
        ("x.csv", 'a,b\n1,"2\n3,"4"\n5,"6\n7,"8"\n', ["line 2", "behind a closing"]),
        ("x.jsonl", '{"a": 1}\n\n{"a": }\n', ["line 3", "column 7", "Expecting value"]),
        ("x.json", '[\n{"a": 1},\n 5]', ["line 3", "no object"]),
        ("x.json", '[\n{"a": 1}\n{"a": 2}]', ["line 3", "column 1", "Expecting ',' or ']'"]),
        ("x.json", '[{"a": 1},\n{"a": 2},\n]', ["line 3", "column 1", "Expecting value"]),
        ("x.json", '[{"a": 1},\n{"a": 2}\n', ["line 3", "Expecting ',' or ']'"]),
        ("x.json", '[{"a": 1}]\n[{"a": 2}]', ["line 2", "column 1", "Extra data"]),
        ("x.json", '[{"a": 1},\n{"a": 1, "a": 2}]', ["line 2", "two values for 'a'"]),
        ("x.json", "[\n" * 200_000, ["nested too deep"]),
        ("x.json", "[]", ["an array of nothing"]),
        ("x.json", '{\n"a": 1\n}\n{\n"b": 1\n}', ["line 4", "'a' is missing"]),
        ("x.jsonl", '{"a": "never closed\n{"a": 2}\n', ["line 1", "column 7", "Unterminated string"]),
        ("x.jsonl", '{"a": 1}\n"b"\n', ["line 2", "no object"]),
        ("x.jsonl", '{"a": NaN}\n', ["line 1", "NaN"]),
        ("x.jsonl", '{"a": 1, "a": 2}\n', ["line 1", "two values for 'a'"]),
        ("x.jsonl", '{"a": ' + "[" * 200_000 + "\n", ["line 1", "nested too deep"]),
        ("x.jsonl", '{"a": [1]}\n{"a": null}\n', ["line 2", "null", "'a'", "holds lists"]),
        ("x.jsonl", '{"a": [1]}\n{"a": [null]}\n', ["line 2", "null", "'a'"]),
        ("x.jsonl", '{"a": 1, "b": 2}\n{"a": 1}\n', ["line 2", "'b' is missing", "expected 'a', 'b'"]),
        ("x.jsonl", '{"a": 1}\n{"a": 1, "b": 2}\n', ["line 2", "'b' is not in the first row", "remove"]),
        ("x.jsonl", '{"a": 1}\n{"a": ["b"]}\n', ["line 2", "a list in column 'a'", "expected text"]),
        ("x.jsonl", '{"a": ["b"]}\n{"a": 1}\n', ["line 2", "text in column 'a'", "expected a list"]),
        ("x.jsonl", '{"a": "b"}\n{"a": "\\ud800"}\n', ["line 2", "surrogate", "'a'"]),
        ("x.jsonl", '{"a": "b"}\n{"a": "\\u0000"}\n', ["line 2", "NUL", "'a'"]),
        ("x.jsonl", '{"a": []}\n{"a": ["b", "\\u0000"]}\n', ["line 2", "NUL", "'a'"]),
        ("x.jsonl", '{"": 1}\n', ["line 1", "no name"]),
        ("x.jsonl", "{}\n", ["no column"]),
    ],
)
def test_refused(file, name, content, words):
    refused(file(name, content), *words)


@pytest.mark.parametrize("path", [".", "/", ""])
def test_a_path_that_names_no_file_is_not_written_to(path):
    with pytest.raises(InputError, match="names no file"), whole_file(path):
        pytest.fail("there is nothing to write to")


def test_what_is_missing_is_empty_as_in_a_csv_and_told(file, tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = {"text": ["a", None, ""], "n": [0.5, float("nan"), 1.5], "none": [None] * 3}
    lines = '{"text": "a", "n": 0.5, "none": null}\n{"text": null, "n": null, "none": null}\n'
    found = [from_columns(rows), from_columns(pandas.DataFrame(rows)), from_columns(pa.table(rows))]
    found += [read(parquet(tmp_path, **rows)), read(file("x.jsonl", lines + '{"text": "", "n": 1.5, "none": null}'))]
    for records in found:
        assert records.table.to_pydict() == {"text": ["a", "", ""], "n": ["0.5", "", "1.5"], "none": [""] * 3}
        assert records.notes == (f"{records.path}: no value (null) in some rows of columns 'text', 'n', 'none', "
                                 "read as empty",)  # fmt: skip
    for missing in (pandas.NA, pandas.NaT, np.float32("nan")):
        assert from_columns({"text": ["a", missing]}).table["text"].to_pylist() == ["a", ""]
    masked = np.ma.array([1, 2], mask=[False, True])
    assert from_columns({"n": masked}).table["n"].to_pylist() == ["1", ""]


def test_a_null_in_a_later_chunk_of_jsonl(file):
    refused(file("x.jsonl", '{"a": ["b"]}\n' * 10_000 + '{"a": [null]}\n'), "line 10001", "null")


def test_refused_parquet(tmp_path):
    refused(parquet(tmp_path, a=[["x"], None]), "row 2", "null", "'a'")
    refused(parquet(tmp_path, a=[["x"], ["y", None]]), "row 2", "null in a list")
    refused(parquet(tmp_path, a=["x", "y\0"]), "row 2", "NUL")
    refused(parquet(tmp_path, a=pa.array([], pa.string())), "no rows")
    refused(parquet(tmp_path, a=pa.array([b"\xff"])), "no column")


def test_refused_places(tmp_path):
    refused(str(tmp_path / "missing.csv"), "no such file", "check the path")
    refused(str(tmp_path / "missing.parquet"), "no such file")
    (tmp_path / "folder.csv").mkdir()
    refused(str(tmp_path / "folder.csv"), "is a folder")


def test_a_pipe_is_refused_as_messages_read_a_file_again(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    refused(str(tmp_path / "x.csv"), "is a pipe or a device", "save it as one first")


def test_refused_options(file):
    refused(file("x.jsonl", '{"a": 1}'), "delimiter", delimiter=",")
    refused(file("x.csv", "a||b\n1||2\n"), "'||'", "one character", delimiter="||")


def test_what_a_message_quotes_is_capped(file):
    name = "\x1b[31m" + "n" * 10_000
    refused(file("x.csv", f"{name},{name}\n1,2\n"), "\\x1b[31mnnn", "…'")
    refused(file("y.csv", ",".join(f"column {number}" for number in range(500)) + "\n1\n"), "and 490 more")


# Memory


def test_columns_of_arrow_are_those_of_python():
    lists, flags = pa.array([["x"], ["y", "z"]]), pa.array([True, False])
    records = from_columns(pa.table({"text": ["a", "b"], "tags": lists, "flag": flags, "raw": pa.array([b"x", b"y"])}))
    assert records.table.to_pydict() == {
        "text": ["a", "b"], "tags": [["x"], ["y", "z"]], "flag": ["true", "false"], "raw": ["x", "y"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({0: ["a"]}, "a column is called 0, expected text"),
        ({"text": "abc"}, "column 'text' is a str, expected a list of values"),
        ({"text": {0: "a"}}, "column 'text' is a dict"),
        ({"text": 7}, "column 'text' is a int"),
        ({"text": np.array("a")}, "column 'text' is a ndarray"),
        ({"text": [b"\xff"]}, "row 1: half a surrogate pair"),
        (["a"], "found a list, expected the path of a table, or columns"),
    ],
)
def test_what_is_no_columns_in_memory_is_refused(columns, said):
    with pytest.raises(InputError, match=said):
        from_columns(columns)


def test_records_from_memory():
    records = from_columns(
        {"text": ["a", "b"], "label": np.array([1, 2]), "flag": np.array([True, False]), "tags": [["x"], []]}
    )
    assert records.table.to_pydict() == {
        "text": ["a", "b"],
        "label": ["1", "2"],
        "flag": ["true", "false"],
        "tags": [["x"], []],
    }
    assert records.where(1) == "<memory>, row 2"


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"a": [["x"], None]}, "row 2"),
        ({"a": [["x", float("nan")]]}, "row 1"),
        ({"a": ["x"], "b": []}, "0 to 1 rows"),
    ],
)
def test_refused_from_memory(columns, word):
    with pytest.raises(InputError, match=f"<memory>.*{word}"):
        from_columns(columns)


# Writing

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8),
    st.sampled_from(["csv", "csv.gz", "jsonl", "json", "parquet"]),
)
def test_what_is_written_reads_the_same(tmp_path_factory, rows, extension):
    path = tmp_path_factory.mktemp("written") / f"x.{extension}"
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    write(path, columns)
    assert read(path).table.to_pydict() == columns


@settings(deadline=None, max_examples=30)
@given(st.lists(TEXT, min_size=1, max_size=4).filter(any))
def test_a_single_column_reads_the_same(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("written") / "x.csv"
    write(path, {"text": texts})
    assert read(path).table["text"].to_pylist() == texts


def test_numbers_and_lists_are_written(tmp_path):
    path = tmp_path / "x.jsonl"
    write(path, {"label": ["a"], "score": [np.float32(0.5)], "labels": [["a", "b"]], "rank": [1]})
    assert path.read_text() == '{"label": "a", "score": 0.5, "labels": ["a", "b"], "rank": 1}\n'
    write(tmp_path / "x.json", {"label": ["a", "b"], "score": [0.5, 1.0]})
    assert (tmp_path / "x.json").read_text() == '[\n{"label": "a", "score": 0.5},\n{"label": "b", "score": 1.0}\n]\n'
    write(tmp_path / "x.tsv", {"label": ['"好"'], "score": [np.float64(0.1)]})
    assert (tmp_path / "x.tsv").read_bytes() == 'label\tscore\n"好"\t0.1\n'.encode()


def test_the_same_rows_give_the_same_gz(tmp_path):
    for name in ("a.csv.gz", "b.csv.gz"):
        write(tmp_path / name, {"text": ["x"]})
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("x.tsv", "a\tb", ["row 2", "'a\\tb'", ".csv or .jsonl"]),
        ("x.tsv", "a\nb", ["row 2", "line break"]),
        ("x.csv", ["a"], ["row 2", "a list", ".jsonl"]),
        ("x.csv", "\ud800", ["surrogate"]),
        ("x.txt", "a", [".txt", ".csv"]),
        ("missing/x.csv", "a", ["cannot be written", "folder"]),
    ],
)
def test_refused_writing_leaves_what_was_there(tmp_path, name, value, words):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as caught:
        write(tmp_path / name, {"text": ["fine", value]})
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name))
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match=r"x\.csv: cannot be written \(No space left on device\).*choose another place"
    ):
        write(path, {"text": ["new"]})
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.csv"]
    assert path.read_text() == "old"
