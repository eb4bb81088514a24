"""A run that was killed goes on to the same bits; a directory is written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.families.checkpoint import read_model
from headwise.finetune import made
from headwise.training import saving
from headwise.training.loop import State
from headwise.training.optimizers import optimizer
from headwise.training.recipe import Recipe
from headwise.training.saving import newest_checkpoint, restore, save_checkpoint, whole

# The command line, in which a signal arrives at a chosen moment: at the n-th call of a function, before it begins.
STRICKEN = """
import importlib, os, sys
import torch
module, name, call, sent = sys.argv.pop(1).split(",")
torch.set_num_threads(1)
from headwise.cli import main
module, calls = importlib.import_module(module), []
usual = getattr(module, name)
def stricken(*given, **named):
    calls.append(1)
    if len(calls) == int(call):
        os.kill(os.getpid(), int(sent))
    return usual(*given, **named)
setattr(module, name, stricken)
main()
"""


@pytest.fixture(scope="module")
def job(directory_of, films, table, tmp_path_factory):
    """The words of a command that trains 24 steps with a checkpoint every 4, and the bits it ends in."""
    place = tmp_path_factory.mktemp("job")
    file = table(place / "films.tsv", films)
    words = ["train", file, "--valid", file, "--model", directory_of("bert"), "--no-baselines", "--quiet"]
    words += ["--epochs", "12", "--batch-size", "4", "--eval-steps", "4", "--learning-rate", "0.003"]
    words += ["--patience", "99", "--dropout", "0.2"]
    how = {"epochs": 12.0, "batch_size": 4, "eval_steps": 4, "learning_rate": 0.003, "patience": 99, "dropout": 0.2}
    model = str(directory_of("bert"))
    headwise.train(file, file, out=place / "whole", model=model, with_baselines=False, quiet=True, **how)
    return list(map(str, words)), place / "whole"


def strike(words, module, name, call, sent):
    """Run the command in a process that gets a signal; its exit status and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", STRICKEN, f"{module},{name},{call},{int(sent)}", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    return done.returncode, done.stderr


def same_weights(one, other):
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def steps_in(run):
    return [int(place.name.removeprefix("step-")) for place in sorted((run / "checkpoints").glob("step-*"))]


@pytest.fixture(scope="module")
def half_done(job, tmp_path_factory):
    """A run that was killed while it wrote its third checkpoint: two are whole, one is half there."""
    words, _ = job
    place = tmp_path_factory.mktemp("half done") / "run"
    code, _ = strike([*words, "--out", place], "headwise.training.saving", "digests", 3, signal.SIGKILL)
    assert code == -signal.SIGKILL and steps_in(place) == [4, 8]
    return place


@pytest.fixture
def killed(half_done, tmp_path):
    return shutil.copytree(half_done, tmp_path / "run")


def test_a_killed_run_goes_on_to_the_same_bits(job, killed, command):
    words, finished = job
    code, _, said = command(*words, "--out", killed)
    assert (
        code == 2
        and said == f"error: {killed}: holds an unfinished run; go on with --resume, or begin anew with --overwrite\n"
    )
    with pytest.raises(InputError, match="training has not finished here; go on with the same command and --resume"):
        headwise.load(killed)

    code, _, said = command(*words, "--out", killed, "--resume", "--learning-rate", "0.004")
    assert code == 2 and said.count("\n") == 1 and "was made with another recipe; go on with the same command" in said
    other = [word if not word.endswith("films.tsv") else killed.parent / "other.tsv" for word in words]
    (killed.parent / "other.tsv").write_text((finished.parent / "films.tsv").read_text().replace("dull", "long"))
    code, _, said = command(*other, "--out", killed, "--resume")
    assert code == 2 and said.count("\n") == 1 and "was made with another data; go on with the same command" in said
    assert steps_in(killed) == [4, 8]

    # the newest checkpoint is damaged, so the one before it is taken
    newest = killed / "checkpoints/step-00000008/optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    code, _, said = command(*(word for word in words if word != "--quiet"), "--out", killed, "--resume")
    assert code == 0 and "going on from step 4" in said
    assert same_weights(killed, finished)
    assert not (killed / "checkpoints").exists()
    cards = [json.loads((run / "headwise.json").read_text()) for run in (killed, finished)]
    assert cards[0]["metrics"] == cards[1]["metrics"] and cards[0]["recipe"] == cards[1]["recipe"]
    code, _, said = command(*words, "--out", killed, "--resume")
    assert code == 2 and "this run is finished, there is nothing to resume" in said


def test_ctrl_c_saves_a_checkpoint_and_the_run_goes_on_to_the_same_bits(job, command, tmp_path):
    words, finished = job
    out = ["--out", tmp_path / "run"]
    loud = [word for word in words if word != "--quiet"]
    code, said = strike([*loud, *out], "headwise.training.loop", "one_step", 3, signal.SIGINT)
    assert code == 130 and "stopped after step 3; the same command with --resume goes on" in said
    assert "Traceback" not in said and steps_in(tmp_path / "run") == [3]  # before the first evaluation
    assert command(*words, *out, "--resume")[0] == 0
    assert same_weights(tmp_path / "run", finished) and not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("step", [4, 6, 24])
def test_ctrl_c_at_an_evaluation_between_two_and_at_the_end(step, job, command, tmp_path, monkeypatch):
    words, finished = job
    from headwise.training import loop

    usual, out = loop.one_step, ["--out", tmp_path / "run"]
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background

    def pressed(state, *rest):
        if state.step == step - 1:
            signal.raise_signal(signal.SIGINT)
        return usual(state, *rest)

    monkeypatch.setattr(loop, "one_step", pressed)
    assert command(*words, *out)[0] == 130
    assert steps_in(tmp_path / "run")[-1] == step
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is before
    command(*words, *out, "--resume")
    assert same_weights(tmp_path / "run", finished)


@pytest.mark.parametrize("place", ["headwise.results.predicted", "headwise.results.as_html"])
def test_ctrl_c_behind_the_last_step_says_how_to_go_on(place, job, command, tmp_path, monkeypatch):
    words, finished = job
    out = ["--out", tmp_path / "run"]

    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, pressed)
    code, _, said = command(*(word for word in words if word != "--quiet"), *out)
    assert code == 130 and said.endswith("stopped after training; the same command with --resume goes on\n")
    monkeypatch.undo()
    assert command(*words, *out, "--resume")[0] == 0 and same_weights(tmp_path / "run", finished)


def test_a_run_goes_on_in_its_precision_though_the_processor_now_seems_faster_in_another(
    job, killed, command, monkeypatch
):
    words, finished = job
    begun = json.loads((killed / "checkpoints/step-00000008/state.json").read_text())["made_for"]["recipe"]["precision"]
    monkeypatch.setattr("headwise.core.kernels.bfloat16_pays", lambda: begun == "float32")
    assert command(*words, "--out", killed, "--resume")[0] == 0
    assert same_weights(killed, finished)


def test_two_runs_never_write_to_one_directory(job, killed, command):
    words, _ = job
    with made(killed, anew=False):
        code, _, said = command(*words, "--out", killed, "--resume")
    assert code == 2 and "another run writes here; wait for it, or choose another --out" in said
    assert steps_in(killed) == [4, 8] and not (killed / "checkpoints/lock").exists()


def test_a_name_may_be_as_long_as_any(job, command, tmp_path):
    words, finished = job
    place = tmp_path / ("n" * 255)
    assert command(*words, "--out", place)[0] == 0 and same_weights(place, finished)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("headwise.json", "[]"),
        ("headwise.json", '{"sha256": []}'),
        ("headwise.json", '{"task": [1]}'),
        ("headwise.json", "[" * 100_000),
        ("tokenizer_config.json", '{"model_max_length": NaN}'),
    ],
)
def test_what_was_edited_by_hand_is_refused_in_a_line(file, content, job, tmp_path, command):
    place = shutil.copytree(job[1], tmp_path / "run")
    if file != "headwise.json":
        (place / "headwise.json").unlink()
    (place / file).write_text(content)
    code, _, said = command("predict", place, "a fine film")
    assert code == 2 and said.startswith("error: ") and said.count("\n") == 1


def test_a_run_that_replaces_a_finished_one_can_be_resumed_too(job, killed, command):
    words, finished = job
    for file in finished.iterdir():
        (killed / file.name).write_bytes(file.read_bytes())
    (killed / "model.safetensors").unlink()
    assert command(*words, "--out", killed, "--overwrite", "--resume")[0] == 0
    assert same_weights(killed, finished)


def test_a_mistake_in_the_command_costs_no_checkpoint(job, killed, command):
    words, _ = job
    assert command(*words, "--out", killed, "--overwrite", "--dropout", "2")[0] == 2
    assert steps_in(killed) == [4, 8]
    code, _, _ = command(*words, "--out", killed, "--overwrite", "--epochs", "1")
    assert code == 0 and not (killed / "checkpoints").exists()


# The parts


@pytest.fixture
def state(directory_of):
    recipe = Recipe()
    model = read_model(directory_of("bert"), 2, seed=1).model
    state = State(model, optimizer(model, recipe), step=3, losses=[0.1 + 0.2, 1 / 3], history=[{"step": 2}])
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.1)
    state.optimizer.step()
    state.best = {name: weight.clone() for name, weight in model.state_dict().items()}
    state.best_step = 3
    return state


def test_a_checkpoint_holds_every_bit_of_the_state(state, directory_of, tmp_path):
    state.best_step = 2
    state.best["head.out.bias"] += 1
    place = save_checkpoint(tmp_path, state, {"recipe": asdict(Recipe())})
    model = read_model(directory_of("bert"), 2).model
    again = State(model, optimizer(model, Recipe()))
    found, manifest = newest_checkpoint(tmp_path)
    assert found == place and manifest["made_for"]["recipe"]["epochs"] == 3.0
    restore(again, found, manifest)
    assert (again.step, again.best_step, again.losses, again.history) == (3, 2, state.losses, state.history)
    for name in ("best",):
        assert all(torch.equal(weight, getattr(again, name)[key]) for key, weight in getattr(state, name).items())
    ours, theirs = state.optimizer.state_dict()["state"], again.optimizer.state_dict()["state"]
    assert all(torch.equal(kept, theirs[number][name]) for number in ours for name, kept in ours[number].items())
    for one in (state, again):
        for parameter in one.model.parameters():
            parameter.grad = torch.full_like(parameter, -0.3)
        one.optimizer.step()
    assert all(map(torch.equal, state.model.parameters(), again.model.parameters()))


def test_the_best_weights_are_never_those_left_over_from_an_earlier_checkpoint_of_the_step(state, tmp_path):
    """Ctrl-C saves step 3 before its evaluation; after it, step 3 is the best and is saved once more."""
    state.best_step = 2
    state.best["head.out.bias"] += 1
    save_checkpoint(tmp_path, state, {})
    state.best_step, state.best = 3, dict(state.model.state_dict())
    save_checkpoint(tmp_path, state, {})
    restore(state, *newest_checkpoint(tmp_path))
    assert torch.equal(state.best["head.out.bias"], state.model.state_dict()["head.out.bias"])


@pytest.mark.parametrize("damage", ["cut", "bit", "missing", "manifest", "no manifest", "everything"])
def test_the_newest_checkpoint_that_is_whole_is_taken(damage, state, tmp_path):
    for state.step in (1, 2, 3):
        save_checkpoint(tmp_path, state, {})
    assert [place.name for place in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000003"]
    for place in sorted(tmp_path.iterdir()) if damage == "everything" else [tmp_path / "step-00000003"]:
        file = place / ("state.json" if "manifest" in damage else "model.safetensors")
        content = bytearray(file.read_bytes())
        content[-9] ^= damage == "bit"
        file.write_bytes(content[:-1000] if damage in ("cut", "everything") else content)
        if damage in ("missing", "no manifest"):
            file.unlink()
        elif damage == "manifest":
            file.write_text("{")
    found = newest_checkpoint(tmp_path)
    assert found is None if damage == "everything" else found[0].name == "step-00000002"


def test_no_checkpoint_is_none(tmp_path):
    assert newest_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_everything_as_it_was(there, tmp_path, monkeypatch):
    place = tmp_path / "run"
    if there:
        place.mkdir()
        (place / "a.txt").write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(InputError, match="run: the disk is full, nothing was written; free some space"),
        whole(place) as new,
    ):
        (new / "a.txt").write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == (["run"] if there else [])
    assert not there or (place / "a.txt").read_text() == "old"


def test_of_a_model_that_is_replaced_nothing_stays_but_what_was_not_its_own(tmp_path):
    def written(**files):
        with whole(tmp_path) as new:
            for name, text in files.items():
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_text(text)
            (new / "headwise.json").write_text(json.dumps({"sha256": dict.fromkeys(files, "")}))

    written(**{"model.onnx": "", "modules.json": "", "1_Pooling/config.json": ""})
    (tmp_path / "notes.txt").write_text("mine")
    written(**{"model.onnx": "new"})
    assert sorted(saving.files_in(tmp_path)) == ["headwise.json", "model.onnx", "notes.txt"]
    assert (tmp_path / "model.onnx").read_text() == "new"


def test_a_disk_that_is_really_full(state, tmp_path):
    """A file system of 100 kB, where one may be mounted."""
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", tmp_path]).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(InputError, match="the disk is full, nothing was written"):
            save_checkpoint(tmp_path, state, {})
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize(
    ("module", "name"), [("headwise.training.saving", "save_file"), ("headwise.model", "write_model")]
)
def test_a_disk_that_fills_up_in_a_run_is_said_in_one_line(module, name, job, command, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    words, finished = job
    monkeypatch.setattr(f"{module}.{name}", full)
    code, _, said = command(*words, "--out", tmp_path / "run")
    assert code == 2 and said.count("\n") == 1 and "the disk is full, nothing was written; free some space" in said
    assert not (tmp_path / "run/model.safetensors").exists() and not list(tmp_path.glob(".run*"))
    monkeypatch.undo()
    learned = module == "headwise.model"
    assert ("--resume goes on" in said) == learned
    if learned:
        assert command(*words, "--out", tmp_path / "run", "--resume")[0] == 0
        assert same_weights(tmp_path / "run", finished)


def test_a_run_on_a_disk_of_its_own(tmp_path):
    """--out is a volume that is mounted there: what is beside it is another disk, from which nothing can be moved."""
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path]).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with whole(tmp_path) as new:
            (new / "a.txt").write_text("new")
        assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_what_else_is_in_a_directory_stays(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine.txt").write_text("mine")
    with whole(tmp_path / "run") as new:
        (new / saving.CARD).write_text("{}")
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"mine.txt", saving.CARD}
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
