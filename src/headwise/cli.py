"""The command line: headwise check, train, evaluate, predict, search, compare, decide, export, serve, explain,
words, heads, info."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwise.core.plain import VARIABLE, Kernels
from headwise.errors import InputError
from headwise.families.hub import STARTER
from headwise.options import in_fields, options_from, takes, typed, weights, with_answers
from headwise.serving.limits import Limits
from headwise.training.asked import Asked
from headwise.training.recipe import Precision, Recipe

if TYPE_CHECKING:
    from headwise.reading.records import Records
    from headwise.reading.text import Text

Usage: Any = typer.BadParameter.__base__  # click's error of that name, or that of the copy newer typers bring

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Table = Annotated[Path, typer.Argument(help="csv, tsv, jsonl, json or parquet; all but parquet also as .gz")]
Run = Annotated[Path, typer.Argument(help="directory of a finished run, or any Hugging Face model that can be read")]
PREFIXES = ("query_prefix", "document_prefix")  # a model keeps those of its training
LOCAL = "127.0.0.1"
Precise = Annotated[
    Precision,
    typer.Option(help="of matrix products: bfloat16 takes half the time on some processors, as `headwise info` tells"),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON for programs")]


@app.command()
@options_from(*takes(Asked, "Table", *PREFIXES, "skip_empty"))
def check(
    train: Table,
    *,
    valid: Annotated[Path | None, typer.Option(help="validation rows")] = None,
    test: Annotated[Path | None, typer.Option(help="test rows")] = None,
    model: Annotated[
        str | None, typer.Option(help="count its tokens, not the starter's, and use what it knows to doubt labels")
    ] = None,
    fix: Annotated[Path | None, typer.Option(help="folder to write a repaired copy and a list of changes to")] = None,
    seed: Annotated[int, typer.Option(help="of the folds in which labels are doubted")] = 42,
    as_json: Json = False,
    **options: Any,
) -> None:
    """What is wrong with a table before anyone trains on it: a verdict for each finding; exit status 0 all the same."""
    from headwise.audit import check as job
    from headwise.progress import Narrator

    narrator = Narrator(quiet=as_json)
    done = job(train, valid, test, model=model, fix=fix, seed=seed, wait=narrator.wait, **options)
    narrator.say(*done.notes)
    print(json.dumps(done.as_dict(), ensure_ascii=False) if as_json else done.as_text())
    if fix is not None:
        narrator.say(f"{fix}: repaired copies written, and changes.jsonl, a list of all changes")


@app.command()
@options_from(*takes(Asked, "Table"), *takes(Recipe, "Recipe"))
def train(
    train: Table,
    *,
    out: Annotated[Path, typer.Option(help="directory to write the run to")],
    valid: Annotated[Path | None, typer.Option(help="validation rows; else a tenth of the training rows")] = None,
    test: Annotated[Path | None, typer.Option(help="test rows; else, without --valid, another tenth")] = None,
    model: Annotated[str, typer.Option(help="model directory, name on the Hugging Face hub, or minilm")] = STARTER,
    seeds: Annotated[int, typer.Option(min=1, help="so many runs; the best is kept and the spread is told")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an unfinished run")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run that is in --out")] = False,
    baselines: Annotated[bool, typer.Option(help="also judge majority class, TF-IDF and the frozen model")] = True,
    report_to: Annotated[list[str] | None, typer.Option(help="tensorboard or wandb; may be repeated")] = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="say nothing but the result")] = False,
    **options: Any,
) -> None:
    """Fine-tune a model on a table; leave it in --out with its metrics and a report."""
    from headwise.finetune import train as job
    from headwise.judging.report import as_text

    given = {name: value for name, value in options.items() if value is not None}
    if "class_weights" in given:
        given["class_weights"] = weights(given["class_weights"])
    how: dict[str, Any] = {
        "seeds": seeds,
        "resume": resume,
        "overwrite": overwrite,
        "with_baselines": baselines,
        "quiet": quiet,
    }
    done = job(train, valid, test, out, model, report_to=report_to or (), **how, **given)
    assert done.report is not None  # a run that was just trained has one
    if as_json:
        print(json.dumps(done.report.as_dict(), ensure_ascii=False))
        return
    print(as_text(done.report))
    print(f"{out / 'report.html'}: the same with plots")


@app.command()
@options_from(*takes(Asked, "Table", "task", *PREFIXES))
def evaluate(run: Run, table: Table, *, precision: Precise = "float32", as_json: Json = False, **options: Any) -> None:
    """Score a model on a table with labels."""
    from headwise.judging.report import as_text
    from headwise.model import load
    from headwise.progress import Narrator

    narrator = Narrator(quiet=as_json)
    with narrator.counting("evaluating") as done:
        report = load(run, precision).judge(table, Asked(**options), done)
    narrator.say(*report.notes)
    print(json.dumps(report.as_dict(), ensure_ascii=False) if as_json else as_text(report))


@app.command()
@options_from(*takes(Asked, "Table", "task", *PREFIXES, "label_column", "label_separator", "skip_empty"))
def predict(
    run: Run,
    texts: Annotated[list[str] | None, typer.Argument(help="texts; else --input, else lines of standard input")] = None,
    *,
    input: Annotated[Path | None, typer.Option(help="table with a text column")] = None,
    output: Annotated[
        Path | None, typer.Option(help="csv, tsv, jsonl, json or parquet to write; else JSON lines")
    ] = None,
    precision: Precise = "float32",
    **options: Any,
) -> None:
    """Ask a model: a JSON line for each text, or the table with its answers in new columns.

    Several labels of a text stand in one field of a csv or tsv, with what separated them in training, or |, between;
    entities, words for masks and lists of the table itself stand there as JSON.
    """
    from headwise.model import load
    from headwise.progress import Narrator
    from headwise.reading.writing import holds_lists, refuse_unfit, refuse_unwritable, write

    if texts and input:
        raise InputError("predict takes texts or --input, not both; leave one out")
    for number, text in enumerate(texts or (), 1):
        if not text.strip():
            raise InputError(f"text {number} is empty, so there is nothing to answer; write one or leave it out")
    if output is not None:
        refuse_unwritable(output)
        if input is not None and output.resolve() == input.resolve():
            raise InputError(f"{output}: is the table itself; choose another --output")
    model, narrator = load(run, precision), Narrator()
    asked: Sequence[Text]
    records: Records | None
    if input is not None:
        asked, records, notes = model.unlabelled(input, Asked(**options))
        narrator.say(*notes)
        columns = records.table.to_pydict()
    else:
        asked = texts or typed()
        columns, records = {"text": asked}, None
    if output is not None:
        columns = columns if holds_lists(output) else {name: in_fields(values) for name, values in columns.items()}
        refuse_unfit(output, columns)
    with narrator.counting("predicting") as done:
        answers = model.predict(asked, done)
    if output is None:
        for answer in answers:
            print(json.dumps(answer, ensure_ascii=False))
        return
    separator = model.card.get("label_separator") or "|"  # several labels in one field, as in training
    write(output, with_answers(columns, answers, None if holds_lists(output) else separator), records)
    narrator.say(f"{output}: {len(answers):,} rows written")


@app.command()
@options_from(*takes(Asked, "Table", "task", *PREFIXES))
def compare(
    first: Run,
    second: Run,
    table: Table,
    *,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Whether the second model is better than the first on a table with labels, worse, or one cannot tell."""
    from headwise.model import load
    from headwise.progress import Narrator
    from headwise.trust import compared

    narrator = Narrator(quiet=as_json)
    with narrator.counting("comparing") as done:
        found, notes = compared(load(first), load(second), table, Asked(**options), done)
    narrator.say(*notes)
    told = {"first": str(first), "second": str(second), **found.as_dict()}
    print(json.dumps(told, ensure_ascii=False) if as_json else found.as_text(str(first), str(second)))


@app.command()
@options_from(*takes(Asked, "Table", "task", *PREFIXES))
def decide(
    run: Run,
    table: Table,
    *,
    most_error: Annotated[float | None, typer.Option(help="share of the answers that may be wrong: 0.02")] = None,
    false_alarms: Annotated[
        float | None, typer.Option(help="share of texts that may be called out of scope though they are in it: 0.05")
    ] = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Settle when a model answers, on rows with labels that it has not seen; from then on it abstains otherwise."""
    from headwise.progress import Narrator
    from headwise.trust import decided

    narrator = Narrator(quiet=as_json)
    with narrator.counting("deciding") as done:
        found, notes = decided(run, table, Asked(**options), most_error, false_alarms, done)
    narrator.say(*notes)
    print(json.dumps(found.as_dict(), ensure_ascii=False) if as_json else found)


@app.command()
@options_from(*takes(Asked, "Table", "task", *PREFIXES, "pair_column", "label_column", "label_separator", "skip_empty"))
def search(
    run: Run,
    queries: Annotated[list[str] | None, typer.Argument(help="texts; else lines of standard input")] = None,
    *,
    documents: Annotated[Path, typer.Option(help="table with the texts to be found")],
    top_k: Annotated[int, typer.Option(help="hits for a query at most")] = 10,
    least: Annotated[float | None, typer.Option(help="chance of being right a hit must have; else 0.5")] = None,
    reranker: Annotated[
        Path | None, typer.Option(help="a model of pairs with a say in the order of the nearest")
    ] = None,
    precision: Precise = "float32",
    **options: Any,
) -> None:
    """Find the documents nearest to a text: a JSON line for each, with no hits where nothing is good enough."""
    from headwise.model import load
    from headwise.progress import Narrator
    from headwise.search import Index, documents_of

    model, narrator = load(run, precision), Narrator()
    second = None if reranker is None else load(reranker, precision)
    texts, notes = documents_of(model, documents, Asked(**options))
    narrator.say(*notes)
    if second is not None and len(second.labels) == 2:
        narrator.say(f"re-ranker: the more likely {second.labels[1]}, the better")
    with narrator.counting("reading documents") as done:
        index = Index.of(model, texts, done)
    asked = queries or typed()
    for query, hits in zip(asked, index.search(asked, top_k, least, second), strict=True):
        print(json.dumps({"query": query, "hits": [asdict(hit) for hit in hits]}, ensure_ascii=False))


@app.command()
@options_from(*takes(Asked, "Table", "task", *PREFIXES))
def export(
    run: Run,
    *,
    out: Annotated[Path, typer.Option(help="directory to write the exported model to")],
    engine: Annotated[str, typer.Option(help="what is to run it: onnxruntime or openvino")] = "onnxruntime",
    int8: Annotated[bool, typer.Option("--int8", help="weights in 8 bits")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="rows by which openvino settles its scales of 8 bits: those of training")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="rows with labels to judge the exported model by")] = None,
    budget: Annotated[float, typer.Option(help="points the metric may lose on --data")] = 0.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the exported model that is in --out")] = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Write a model as a graph that gives the same answers without PyTorch; one that does not is not written."""
    from headwise.export import export as job
    from headwise.progress import Narrator

    narrator, asked = Narrator(quiet=as_json), Asked(**options)
    how: dict[str, Any] = {"engine": engine, "int8": int8, "calibrate": calibrate}
    how |= {"budget": budget, "overwrite": overwrite}
    found, notes = job(run, out, data, asked, **how, wait=narrator.wait)
    narrator.say(*notes)
    print(json.dumps({"out": str(out), **asdict(found)}, ensure_ascii=False) if as_json else found.as_text())
    narrator.say(f"{out}: written")


@app.command()
@options_from(*takes(Limits, "Limits"))
def serve(
    runs: Annotated[list[Path], typer.Argument(help="directories of finished runs, or of any models we can ask")],
    *,
    host: Annotated[str, typer.Option(help="address to listen at; any but this machine's own needs a key")] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one")] = 8000,
    api_key: Annotated[
        str | None, typer.Option(envvar="HEADWISE_API_KEY", show_envvar=True, help="what clients must send as Bearer")
    ] = None,
    precision: Precise = "float32",
    check: Annotated[
        bool, typer.Option("--check", help="only ask each model its golden records over HTTP, then end")
    ] = False,
    **options: Any,
) -> None:
    """Answer requests over HTTP as existing clients send them; new versions of the models are taken up on the way."""
    try:
        from headwise.serving import server
    except ModuleNotFoundError as error:
        raise InputError(f"serving needs {error.name}; install it: pip install 'headwise[serve]'") from None
    limits = Limits(**{name: value for name, value in options.items() if value is not None})
    if check:
        for line in server.checked(runs, precision):
            print(line)
        return
    server.serve(runs, host, port, api_key, limits, precision)


@app.command()
def explain(
    run: Run,
    text: Annotated[str, typer.Argument(help="the text")],
    *,
    pair: Annotated[str | None, typer.Option(help="second text: of a pair, the context, what is compared with")] = None,
    label: Annotated[str | None, typer.Option(help="ask about this label or answer; else about the likeliest")] = None,
    against: Annotated[str | None, typer.Option(help="ask why that label and not this one")] = None,
    word: Annotated[str | None, typer.Option(help="ask about this word's tag; else about the surest")] = None,
    method: Annotated[
        str, typer.Option(help="of attribution (a wrong name lists all); auto: the first to be trusted")
    ] = "auto",
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(help="page to write, with the attention of every head")] = None,
    png: Annotated[Path | None, typer.Option(help="picture to write")] = None,
) -> None:
    """Why a text got its answer: which words mattered, and how far to believe that."""
    from headwise.insight.terminal import show
    from headwise.model import load
    from headwise.progress import Narrator
    from headwise.reading.writing import refuse_nowhere, whole_file

    for place in (html, png):
        if place is not None:
            refuse_nowhere(place)
    narrator, model = Narrator(quiet=as_json), load(run)
    asked: dict[str, Any] = {"label": label, "against": against, "word": word, "method": method}
    with narrator.wait("explaining"):
        found = model.explain(text if pair is None else (text, pair), layers=() if html is None else None, **asked)
    if as_json:
        print(json.dumps(found.as_dict(), ensure_ascii=False))
    else:
        show(found)
    if html is not None:
        from headwise.insight.page import as_html

        with whole_file(html) as file:
            file.write(as_html(found).encode())
    if png is not None:
        from headwise.insight.figure import as_png

        with whole_file(png) as file:
            file.write(as_png(found))
    narrator.say(*(f"{file}: written" for file in (html, png) if file is not None))


@app.command()
@options_from(*takes(Asked, "Table", "task", *PREFIXES, "label_column", "label_separator", "skip_empty"))
def words(
    run: Run,
    table: Table,
    *,
    label: Annotated[str | None, typer.Option(help="only the texts that get this label; else each label's")] = None,
    method: Annotated[str, typer.Option(help="of attribution (a wrong name lists all)")] = "occlusion",
    least_texts: Annotated[int, typer.Option(help="leave out words that stand in fewer texts")] = 5,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Over many texts: which words drive each label."""
    from headwise.model import load
    from headwise.progress import Narrator
    from headwise.survey import words_that_drive

    narrator = Narrator(quiet=as_json)
    how: dict[str, Any] = {"label": label, "method": method, "least_texts": least_texts}
    with narrator.counting("explaining") as done:
        found, notes = words_that_drive(load(run), table, Asked(**options), **how, done=done)
    narrator.say(*notes)
    if as_json:
        print(json.dumps([one.as_dict() for one in found], ensure_ascii=False))
        return
    print("\n\n".join(one.as_text() for one in found))


@app.command()
@options_from(*takes(Asked, "Table", "task", *PREFIXES))
def heads(
    run: Run,
    table: Table,
    *,
    as_json: Json = False,
    png: Annotated[Path | None, typer.Option(help="picture to write")] = None,
    **options: Any,
) -> None:
    """Which heads of attention matter on a table with labels, and what it costs to prune the others."""
    from headwise.insight.ablation import as_figure, as_text
    from headwise.model import load
    from headwise.progress import Narrator
    from headwise.reading.writing import refuse_nowhere, whole_file
    from headwise.survey import heads_that_matter

    if png is not None:
        refuse_nowhere(png)
    narrator = Narrator(quiet=as_json)
    with narrator.counting("taking heads away") as done:
        found, pruning, notes = heads_that_matter(load(run), table, Asked(**options), done)
    narrator.say(*notes)
    told = {"heads": found.as_dict(), "pruning": pruning.as_dict()}
    print(json.dumps(told, ensure_ascii=False) if as_json else as_text(found, pruning))
    if png is not None:
        with whole_file(png) as file:
            as_figure(found, pruning).savefig(file, format="png", dpi=150)


@app.command()
def info(as_json: Json = False) -> None:
    """What computes here: versions, processor, kernels, extras; for a bug report."""
    from headwise.machine import as_text, described

    told = described()
    print(json.dumps(told, ensure_ascii=False) if as_json else as_text(told))


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
    kernels: Annotated[
        Kernels, typer.Option(envvar=VARIABLE, help="plain: everything as it is written, slower, to compare with")
    ] = "auto",
) -> None:
    """Fine-tune a Transformer on a table of labelled text, judge it, use it."""
    os.environ[VARIABLE] = kernels  # before the first is chosen
    if version:
        from importlib.metadata import version as installed

        print(f"headwise {installed('headwise')}")
        raise typer.Exit


def hush() -> None:
    """Let what could not be written to standard output go, or Python would try once more on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 2, Ctrl-C is 130."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a label or a path may hold what a terminal cannot show
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # in a line, without our source
    try:
        code = app(standalone_mode=False)
        if sys.stdout is not None:  # as it is where it was closed: >&-
            sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except Usage as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        code = 141
        hush()
    except OSError as error:
        print(f"error: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        code = 2
        hush()
    sys.exit(code)
