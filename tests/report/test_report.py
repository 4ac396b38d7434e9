"""Reports: written from records alone, self-contained, and safe whatever a name says."""

import io
import json
import math
from html.parser import HTMLParser

import pytest
from rich.console import Console

from fdl import report
from fdl.compare import RunRecord, Study
from fdl.report import _figures as figures

NASTY = ["<script>alert(1)</script>", '"onload="alert(1)', "</title><img src=x>", "{{ 7 * 7 }}", "a\u2028b & c", "x" * 80]


def invented(names, diverged=(), objective="accuracy"):
    """Records of a study that nobody trained."""
    runs = []
    for i, name in enumerate(names):
        for phase, trials, seeds in (("tune", range(3), range(2)), ("final", [1], range(1000, 1005))):
            for trial in trials:
                for seed in seeds:
                    value, lost = 0.9 - 0.01 * i - 0.05 * (trial - 1) ** 2 + 0.001 * (seed % 7), (name, trial) in diverged
                    curve = [(10, 0.5), (20, math.nan if lost else value)]
                    curves = {(split, metric): curve for split in ("train", "validation") for metric in ("loss", "accuracy")}
                    if phase == "final":
                        curves["test", "accuracy"] = curves["test", "loss"] = curve[-1:]
                    runs.append(RunRecord(phase, name, trial, seed, {"lr": 10.0 ** (trial - 3), "b": 0.9}, 15 if lost else None, curves))
    plan = {
        "task": {
            "name": "invented", "dataset": "none", "source": "", "licence": "", "examples": {"train": 10, "validation": 10, "test": 10},
            "model": ["/dense_0 Dense [8, 2]"], "parameters": 10, "batch_size": 8, "steps": 20, "evaluate_every": 10,
            "objective": objective, "maximise": objective == "accuracy",
        },
        "contestants": {name: {"optimizer": "SGD", "hyperparameters": {"lr": "0.001 to 0.1, log", "b": 0.9}} for name in names},
        "trials": 3, "seeds": 2, "final_seeds": 5,
    }  # fmt: skip
    environment = {
        "versions": {"jax": "0"},
        "platform": "p",
        "device": "d",
        "cores": 2,
        "precision": "default",
        "layout": {"workers": 2, "chunk": 1, "fast": True},
    }
    return lambda folder: Study(folder, json.loads(json.dumps({"plan": plan, "environment": environment, "seconds": 12.3})), runs)


class Page(HTMLParser):
    """Counts what could run or be fetched."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.handlers, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            self.handlers += [name] if name.startswith("on") else []
            self.sources += [value] if name in ("src", "srcset", "href") else []

    def handle_data(self, data):
        self.text += data


def test_the_page_is_one_file_without_outside_resources(tmp_path):
    page = Page(report.write(invented(["sgd", "adam"])(tmp_path)).read_text())
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "default-src 'none'" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.html").stat().st_size < 3_000_000
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"final.png", "rates.png", "curves.png"}
    for path in (tmp_path / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_shown_as_text_whatever_it_says(name, tmp_path):
    plain = Page(report.write(invented(["sgd", "adam"])(tmp_path)).read_text())
    nasty = Page(report.write(invented([name, "adam"])(tmp_path)).read_text())
    assert nasty.tags == plain.tags
    assert not nasty.handlers
    assert name in nasty.text


def test_diverged_and_edge_cases_are_said_in_the_table(tmp_path):
    shown = text(invented(["sgd", "adam"], diverged={("sgd", 0), ("sgd", 1), ("adam", 1)})(tmp_path))
    assert "adam: at the edge of its range; 5 of 5 fresh seeds diverged." in shown
    assert shown.count("5 of 5 fresh seeds diverged") == 2
    assert "9 of 11" in shown


def test_a_study_in_which_everything_diverged_is_still_reported(tmp_path):
    study = invented(["sgd"], diverged={("sgd", t) for t in range(3)})(tmp_path)
    assert "No contestant can be ranked" in report.write(study).read_text()
    assert "no trial without a diverged seed" in text(study)


def test_a_loss_as_objective_ranks_the_least_first(tmp_path):
    study = invented(["sgd", "adam"], objective="loss")(tmp_path)
    assert [r.contestant for r in study.results()] == ["adam", "sgd"]
    assert study.headline().startswith("adam reached the lowest mean test loss")
    report.write(study)


def test_the_usual_table_fits_eighty_columns(tmp_path):
    lines = text(invented(["sgd", "momentum", "adagrad", "adadelta", "rmsprop", "adam"], diverged={("sgd", 2)})(tmp_path)).splitlines()
    rows = [line for line in lines if line.strip().startswith(("sgd", "momentum", "ada", "rmsprop", "adam"))]
    assert len(rows) >= 6
    assert all("±" in row for row in rows[-6:]), "a row is broken over two lines"


@pytest.mark.parametrize("theme", [figures.LIGHT, figures.DARK])
def test_every_contestant_is_drawn_in_every_figure(theme, tmp_path):
    study = invented(["sgd", "adam"], diverged={("sgd", 2)})(tmp_path)
    final, rates, curves = (draw(study, theme) for draw in figures.FIGURES.values())
    assert [t.get_text() for t in final.axes[0].get_yticklabels()] == ["adam", "sgd"]
    assert [t.get_text() for t in rates.axes[0].get_legend().get_texts()] == ["sgd", "adam"]
    assert [axes.get_title(loc="left") for axes in curves.axes if axes.get_visible()] == ["sgd", "adam"]
    assert [t.get_text() for t in rates.axes[0].texts] == ["2"], "the diverged seeds are counted"


def text(study):
    console = Console(width=80, file=io.StringIO())
    console.print(report.table(study))
    return console.file.getvalue()
