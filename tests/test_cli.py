"""The commands, as a person runs them."""

import json
import os
import subprocess
import sys

import pytest

ENVIRONMENT = {**os.environ, "COLUMNS": "100", "XLA_FLAGS": ""}


def fdl(*arguments, folder):
    return subprocess.run([sys.executable, "-m", "fdl", *arguments], cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)


def test_compare_ends_with_a_table_and_a_report_and_continues(tmp_path):
    command = [
        "compare",
        "digits-mlp",
        "--optimizers",
        "sgd",
        "adam",
        "--trials",
        "2",
        "--seeds",
        "1",
        "--final-seeds",
        "2",
        "--steps",
        "10",
        "--folder",
        "s",
    ]
    first = fdl(*command, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "adam" in first.stdout
    assert "report: s/report.html" in first.stdout
    assert {"study.db", "report.html", "figures"} <= set(os.listdir(tmp_path / "s"))
    again = fdl(*command, folder=tmp_path)
    assert again.returncode == 0
    assert "Compiling" not in again.stderr
    page = (tmp_path / "s" / "report.html").read_text()
    (tmp_path / "s" / "report.html").unlink()
    regenerated = fdl("report", "s", folder=tmp_path)
    assert regenerated.returncode == 0
    assert (tmp_path / "s" / "report.html").read_text().split("<img")[0] == page.split("<img")[0]


def test_train_ends_with_figures_and_files(tmp_path):
    done = fdl("train", "digits-mlp", "--optimizer", "sgd", "--lr", "0.1", "--steps", "20", "--folder", "r", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test        accuracy" in done.stdout
    assert set(os.listdir(tmp_path / "r")) == {"curves.png", "params.safetensors", "run.json"}


def test_train_takes_any_optimizer_by_name_and_a_schedule(tmp_path):
    for name, rate in (("lookahead(adam)", "lr=Warmup(after=OneCycle(peak=0.01, steps=15.0"), ("optax.lion", "'learning_rate': Warmup(")):
        options = ["--optimizer", name, "--lr", "1e-2", "--schedule", "onecycle", "--warmup", "5", "--steps", "20", "--folder", "r"]
        done = fdl("train", "digits-mlp", *options, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert rate in json.loads((tmp_path / "r" / "run.json").read_text())["optimizer"]


def test_compare_takes_wrappers_by_name(tmp_path):
    options = ["--optimizers", "sgd", "sam(momentum)", "--trials", "2", "--seeds", "1", "--final-seeds", "2", "--steps", "10"]
    done = fdl("compare", "digits-mlp", *options, "--folder", "s", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sam(momentum)" in done.stdout


def test_a_diverging_run_is_reported_not_hidden(tmp_path):
    done = fdl("train", "digits-mlp", "--optimizer", "sgd", "--lr", "1e38", "--steps", "20", "--folder", "r", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stopped being finite at step" in done.stdout


# One process each is what a person meets; the first shows that the module imports nothing before it looks.
BAD = {
    "no command": ([], "compare"),
    "unknown task": (["train", "digit-cnn"], "fdl: task: found 'digit-cnn'; expected one of digits-cnn, digits-mlp, vowels-lstm, "),
    "unknown optimizer": (["train", "digits-cnn", "--optimizer", "adm"], "Did you mean 'adam'?"),
    "wrapper alone": (["train", "digits-cnn", "--optimizer", "sam"], "As in 'sam(adam)', with quotes in a shell."),
    "unknown schedule": (["train", "digits-cnn", "--schedule", "cosin"], "Did you mean 'cosine'?"),
    "warm-up too long": (["train", "digits-cnn", "--warmup", "255"], "fdl: --warmup: found 255; expected steps, fewer than the run's 255."),
    "unknown contestant": (["compare", "digits-cnn", "--optimizers", "adam", "foo"], "--optimizers: found 'foo'"),
    "unknown option": (["train", "digits-cnn", "--wat", "3"], "Unrecognized options: --wat"),
    "negative rate": (["train", "digits-cnn", "--lr", "-0.1"], "fdl: --lr: found -0.1; expected a positive, finite number."),
    "rate of zero": (["train", "digits-cnn", "--lr", "0"], "fdl: --lr: found 0.0; expected a positive, finite number."),
    "rate not a number": (["train", "digits-cnn", "--lr", "nan"], "fdl: --lr: found nan; expected a positive, finite number."),
    "no steps": (["train", "digits-cnn", "--steps", "0"], "fdl: --steps: found 0; expected a positive whole number."),
    "one rate": (["compare", "digits-cnn", "--trials", "1"], "fdl: trials: found 1; expected at least 2"),
    "one final seed": (["compare", "digits-cnn", "--final-seeds", "1"], "fdl: final_seeds: found 1; expected at least 2"),
    "folder under a file": (["compare", "digits-mlp", "--folder", "file/study"], "fdl: study folder: found 'file/study' (Not a directory)"),
    "run folder under a file": (["train", "digits-mlp", "--folder", "file/run"], "fdl: --folder: found 'file/run' (Not a directory)"),
    "no data": (["train", "mnist-mlp", "--data-dir", "nowhere"], "fdl: data set MNIST: found neither train-images-idx3-ubyte nor"),
    "data not needed": (
        ["compare", "digits-mlp", "--data-dir", "file"],
        "fdl: --data-dir: found 'file' for digits-mlp; expected no folder",
    ),
    "no study": (["report", "nowhere"], "fdl: study folder: found no study.db in 'nowhere'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_gets_one_message_exit_code_2_and_leaves_nothing_behind(case, tmp_path):
    arguments, message = BAD[case]
    (tmp_path / "file").write_text("")
    done = fdl(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["file"]
