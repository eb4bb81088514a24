"""headwise check: each kind of finding, its places, the repaired copy, and that nothing hostile gets out."""

import json
import random

import pytest

import headwise
from headwise.checking.labels import folded
from headwise.reading.tables import read

WORDS = {"good": ["great", "lovely", "superb"], "bad": ["dull", "awful", "boring"]}


def clean(number=240):
    """Different texts of two classes, none of them like another."""
    draw = random.Random(0)
    word = lambda: "".join(draw.choice(letters) for letters in ("bdfgklmnprst", "aeiou") * 3)  # noqa: E731
    rows = []
    for at in range(number):
        label = "good" if at % 2 else "bad"
        rows.append((f"the {word()} of {word()} is a {draw.choice(WORDS[label])} {word()} and {word()}", label))
    return rows


@pytest.fixture
def checked(tmp_path, monkeypatch, table, directory_of):
    """The findings of a table of these rows by kind; other splits by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("headwise.audit.locate", lambda name: directory_of("bert"))

    def checked(rows, names=(), **how):
        table(tmp_path / "train.tsv", rows, *names)
        for name in ("valid", "test"):
            if name in how:
                how[name] = table(tmp_path / f"{name}.tsv", how[name], *names).name
        found = headwise.check("train.tsv", **how)
        return found, {one.kind: one for one in found.findings}

    return checked


def lines(found, one):
    return [found.corpus.where(row) for row in one.rows]


def test_a_clean_table_has_no_errors_and_no_warnings(checked):
    found, _ = checked(clean()[:-2], valid=clean()[-2:])
    assert {one.kind for one in found.findings if one.severity != "note"} == set()
    assert found.verdict.endswith("in 240 rows (train 238, validation 2)")


def test_repeats_within_and_across_splits(checked):
    rows = clean()
    near = rows[1][0].title().replace("The", "The,") + "!"
    found, kinds = checked(
        [*rows, rows[4], (near, "good")], test=[rows[7], (rows[9][0] + "!", "good"), ("else", "bad")]
    )
    assert lines(found, kinds["repeated texts"]) == ["train.tsv, line 242"]
    assert found.corpus.where(kinds["repeated texts"].beside[0]) == "train.tsv, line 6"
    assert lines(found, kinds["near-duplicates"]) == ["train.tsv, line 243"]
    assert lines(found, kinds["leak"]) == ["test.tsv, line 2"] and kinds["leak"].severity == "error"
    assert "1 text of test (1 of its 3 rows, 33.3%) also stand in train" in kinds["leak"].words
    assert lines(found, kinds["near leak"]) == ["test.tsv, line 3"]


def test_labels(checked):
    rows = clean()
    rows[2] = (rows[2][0], "Bad ")
    rows += [(rows[5][0].upper(), "bad"), ("a text of a rare class", "odd"), ("a text without a label", "")]
    found, kinds = checked(rows, test=[("quite another text", "good"), ("and one of a new class", "new")])
    assert "'bad' is also written 'Bad '" in kinds["one class spelled in several ways"].words
    assert lines(found, kinds["one class spelled in several ways"]) == ["train.tsv, line 4"]
    assert lines(found, kinds["same text, two labels"]) == ["train.tsv, line 7", "train.tsv, line 242"]
    assert lines(found, kinds["no label"]) == ["train.tsv, line 244"]
    assert lines(found, kinds["unseen classes"]) == ["test.tsv, line 3"]
    assert "test has no row of 'bad', 'odd'" in kinds["missing classes"].words
    said = [one.words for one in found.findings if one.kind == "tiny classes"]
    assert said[0] == "1 of 4 have fewer than 10 rows of train: 'odd'"


@pytest.mark.parametrize(
    ("names", "spelled"),
    [
        (("Bad mood", "bad_mood", "BAD-MOOD", " badmood"), 1),
        (("class 1", "class_1", "Class1"), 1),
        (("-1", "1", "0"), 3),
        (("A-", "A", "a"), 2),
        (("1-5", "15", "1.5"), 3),
        (("C", "C++", "C#"), 3),
    ],
)
def test_what_tells_classes_apart_is_no_spelling(names, spelled):
    assert len({folded(name) for name in names}) == spelled


def test_a_class_of_few_texts_is_not_asked_of_a_classifier_that_never_saw_it(checked):
    rows = [row for row in clean(500) if row[1] == "good"]
    _, kinds = checked([*rows, *[(f"the odd one of {word}", "odd") for word in ("tea", "milk", "wine")] * 5])
    assert "labels that look wrong" not in kinds


def test_a_column_that_holds_no_classes_is_said_and_takes_no_memory(checked):
    found, kinds = checked([(text, f"id {row}") for row, (text, _) in enumerate(clean(400))])
    assert "400 different ones in 400 rows" in kinds["too many classes"].words
    assert kinds["too many classes"].severity == "error" and "truth" not in vars(found.corpus)


def test_many_languages_are_a_mix(checked):
    texts = {
        "the room was clean and they were kind to us": "English",
        "Das Zimmer war sauber und die Leute waren nett": "German",
        "la chambre était propre et le personnel est gentil": "French",
        "la habitación está muy limpia y el personal es amable": "Spanish",
        "房间很干净": "Chinese",
        "部屋はとてもきれいです": "Japanese",
    }
    _, kinds = checked([(f"{text} {row}", row % 2) for row in range(30) for text in texts])
    assert all(language in kinds["language mix"].words for language in list(texts.values())[:5])


def test_wrong_labels_are_found_where_the_rest_is_plain(checked):
    rows = clean(600)
    wrong = [11, 100, 303]
    for row in wrong:
        rows[row] = (rows[row][0], "bad" if rows[row][1] == "good" else "good")
    _, kinds = checked(rows)
    assert sorted(kinds["labels that look wrong"].rows) == wrong
    assert kinds["labels that look wrong"].about[0] in ("'bad', more likely 'good'", "'good', more likely 'bad'")


def test_wrong_labels_are_not_guessed_at_random(checked):
    _, kinds = checked([(text, "good" if at * 7919 % 13 < 6 else "bad") for at, (text, _) in enumerate(clean(600))])
    assert kinds["labels that look wrong"].severity == "note" and kinds["labels that look wrong"].rows == ()


def test_texts(checked):
    rows = clean()
    rows += [
        (" ", "good"),
        ("?!...", "bad"),
        ("die Leute sind nett und das Zimmer ist gut", "good"),
        ("CafÃ© and more", "bad"),
    ]
    found, kinds = checked(rows)
    assert lines(found, kinds["empty texts"]) == ["train.tsv, line 242"]
    assert lines(found, kinds["garbage"]) == ["train.tsv, line 243"]
    assert kinds["language mix"].about == ("German",)
    assert kinds["misread encoding"].about == ("reads 'Café and more' in the right encoding",)


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ("ID-{number} {text}", "beginning 'ID - 0'"),
        ("{text} #b", "end '# b'"),
        ("so {number} xqz {text}", "beginning 'so 0 xqz'"),
    ],
)
def test_a_marker_of_a_class_is_named(checked, shape, name):
    rows = [
        (shape.format(text=text, number=at) if label == "bad" else text, label)
        for at, (text, label) in enumerate(clean())
    ]
    found, _ = checked(rows)
    told = [one.words for one in found.findings if one.kind == "marker of a class"]
    assert any(name in words and "in 100.0% of the rows of 'bad', in 0.0% of the others" in words for words in told)


def test_lengths_and_encoding(checked, tmp_path):
    rows = [(text + " film" * 60 * (at == 3), label) for at, (text, label) in enumerate(clean(100))]
    _, kinds = checked(rows)
    assert (
        "64: 1.0% of rows" in kinds["lengths"].words and "128: 0.0% of rows, 0.0% of tokens" in kinds["lengths"].words
    )
    (tmp_path / "zh.csv").write_bytes(("text,label\n" + "房间很干净,1\n服务不好,0\n" * 20).encode("gb18030"))
    assert "encoding GB18030" in {one.kind: one for one in headwise.check("zh.csv").findings}["encoding"].words


def test_several_labels_and_pairs(checked, tmp_path):
    rows = [(text, f"{label}|long" if at % 3 else label) for at, (text, label) in enumerate(clean())]
    found, kinds = checked([*rows, (rows[0][0], "long"), (rows[3][0], "good|Long")], label_separator="|")
    assert len(kinds["same text, two labels"].rows) == 4
    assert "'long' is also written 'Long'" in kinds["one class spelled in several ways"].words
    rows = [(text, text[::-1], label) for text, label in clean()]
    names = ("sentence1", "sentence2", "label")
    found, kinds = checked([*rows, rows[8], (*rows[6][:1], "", "good")], names)
    assert lines(found, kinds["repeated texts"]) == ["train.tsv, line 242"]
    assert lines(found, kinds["empty texts"]) == ["train.tsv, line 243"]
    assert "near-duplicates" not in kinds


def test_the_features_of_a_model_are_asked_for(checked, directory_of):
    _, kinds = checked(clean(), model=str(directory_of("bert")))
    assert "tokens a row" in kinds["lengths"].words
    _, kinds = checked([("...", "good"), ("!!", "bad")], model=str(directory_of("bert")))  # no row that can be read
    assert kinds["garbage"].rows == (0, 1)


def test_a_copy_of_a_table_without_quotation_marks_is_read_as_the_table_was(tmp_path, table, monkeypatch, directory_of):
    monkeypatch.setattr("headwise.audit.locate", lambda name: directory_of("bert"))
    file = tmp_path / "rows.csv"
    lines = [f"""{text.replace("of", 'of "')},{label}""" for text, label in clean(40)]
    file.write_text("\n".join(["text,label", *lines, lines[0]]) + "\n")
    headwise.check(file, fix=tmp_path / "fixed", no_quote=True)
    assert (tmp_path / "fixed/rows.csv").read_text().splitlines() == ["text,label", *lines]


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
def test_fix_writes_a_copy_and_every_change(tmp_path, table, directory_of, command, monkeypatch, suffix):
    monkeypatch.setattr("headwise.audit.locate", lambda name: directory_of("bert"))
    rows = clean()
    rows[2] = (rows[2][0], "Bad")
    rows += [
        rows[4],
        (rows[5][0], "bad"),
        (rows[7][0], "bad"),
        rows[7],
        ("", "good"),
        ("!!", "bad"),
        ("CafÃ© no more", "bad"),
    ]
    judged = [rows[9], (rows[11][0] + "!", "good"), ("a new text of its own", "bad")]
    files = [tmp_path / f"{name}.{suffix}" for name in ("train", "test")]
    if suffix == "csv":
        for file, some in zip(files, (rows, judged), strict=True):
            file.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in some), encoding="utf-8")
    else:
        for file, some in zip(files, (rows, judged), strict=True):
            table(file, some)
    before = [file.read_bytes() for file in files]
    out = tmp_path / "fixed"
    status, _, said = command("check", files[0], "--test", files[1], "--fix", out)
    assert status == 0 and "repaired copies written" in said
    assert [file.read_bytes() for file in files] == before
    again = {one.kind for one in headwise.check(out / files[0].name, test=out / files[1].name).findings}
    gone = {
        "repeated texts",
        "leak",
        "near leak",
        "same text, two labels",
        "empty texts",
        "garbage",
        "misread encoding",
    }
    assert not again & gone and "one class spelled in several ways" not in again
    changes = [json.loads(line) for line in (out / "changes.jsonl").read_text(encoding="utf-8").splitlines()]
    told = {one["line"]: one["what"] for one in changes if one["file"] == str(files[0])}
    header = suffix != "jsonl"
    expected = {2: "label", 240: "row", 244: "row", 245: "row", 246: "text"}
    assert {row + header + 1: what for row, what in expected.items()}.items() <= told.items()
    kept = read(out / files[0].name).table
    assert len(kept) == len(rows) - sum(one["what"] == "row" for one in changes)
    assert "Café no more" in kept["text"].to_pylist() and set(kept["label"].to_pylist()) == {"good", "bad"}
    assert read(out / files[1].name).table["text"].to_pylist() == [text for text, _ in judged]
    status, _, said = command("check", files[0], "--test", files[1], "--fix", out)
    assert status == 2 and "is there already; choose another folder" in said


def test_what_is_judged_keeps_its_labels_whatever_training_says(checked, tmp_path):
    """One row of test against three of train that say otherwise: the test row stays as it is, those of train go."""
    rows = clean()
    train = [*rows, ("a text of two minds", "good"), ("A text of two minds", "good"), ("a text of  two minds", "good")]
    checked(train, test=[("a text of two minds", "bad"), ("else", "good")], fix="fixed")
    assert read(tmp_path / "fixed/test.tsv").table["label"].to_pylist() == ["bad", "good"]
    assert not any("two minds" in text for text in read(tmp_path / "fixed/train.tsv").table["text"].to_pylist())


def test_the_command_line(tmp_path, table, films, command, monkeypatch, directory_of):
    monkeypatch.setattr("headwise.audit.locate", lambda name: directory_of("bert"))
    rows = [*films, ("\x1b[31mred\u202e " + "x" * 500, "<b>[bold]</b>"), films[0]]
    file = table(tmp_path / "films.tsv", rows)
    status, out, _ = command("check", file)
    assert status == 0 and "repeated texts: 1 row of train" in out and "films.tsv, line 11: 'a fine film" in out
    assert "\x1b" not in out and "\u202e" not in out and max(map(len, out.splitlines())) < 600
    assert "[bold]" in out and out.splitlines()[-1].startswith(("1 error", "1 warning", "2 ", "3 ", "4 ", "5 "))
    status, out, said = command("check", file, "--json")
    told = json.loads(out)
    assert status == 0 and said == "" and told["rows"] == {"train": 10}
    repeat = next(one for one in told["findings"] if one["kind"] == "repeated texts")
    assert repeat["rows"][0]["line"] == 11 and repeat["rows"][0]["beside"]["line"] == 2


def test_numbers_are_not_checked_as_if_they_were_classes(checked, tmp_path, command):
    rows = [(text, f"{at % 37 / 10}") for at, (text, _) in enumerate(clean(80))]
    found, kinds = checked([*rows, (rows[0][0], "3.9"), ("", "1.5")], fix=str(tmp_path / "out"))
    assert set(kinds) == {"empty texts", "repeated texts", "lengths"}
    assert any(note.startswith("task: regression; labels are not classes") for note in found.notes)
    assert read(tmp_path / "out" / "train.tsv").table["label"].to_pylist() == [number for _, number in rows]
    _, kinds = checked(rows, task="text-classification")
    assert "tiny classes" in kinds
    with pytest.raises(headwise.InputError, match=r"line 3: label is 'many', expected a number"):
        checked([rows[0], ("a fine film", "many"), *rows[1:]])


def test_labels_that_look_like_something_else_are_found(checked):
    rows = [(text, ("good|bad", label)[at % 3 > 0]) for at, (text, label) in enumerate(clean(60))]
    _, kinds = checked(rows)
    assert kinds["labels"].words == "a label looks like several in one, 'good|bad'; if so: --label-separator '|'"
    assert "labels" not in checked(rows, label_separator="|")[1]


def test_what_cannot_be_read_is_refused(tmp_path, table, films, command):
    assert command("check", tmp_path / "none.tsv")[0] == 2
    file = table(tmp_path / "films.tsv", films)
    status, _, said = command("check", file, "--test", file, "--fix", tmp_path / "out")
    assert status == 2 and "two of the tables are called films.tsv" in said
    status, _, said = command("check", file, "--label-column", "stars")
    assert status == 2 and "no column 'stars'" in said


def test_where_the_starter_is_not_at_hand_lengths_are_left_out(tmp_path, table, films, monkeypatch):
    def absent(name):
        raise headwise.InputError("no network")

    monkeypatch.setattr("headwise.audit.locate", absent)
    kinds = {one.kind: one for one in headwise.check(table(tmp_path / "films.tsv", films)).findings}
    assert kinds["lengths"].words == "not counted: no network" and kinds["lengths"].severity == "note"
