"""Reports: written from records alone, self-contained, and safe whatever a name says."""

import io
import json
import random
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from made_up import made_up
from rich.console import Console

from fdl import report
from fdl.core import FdlError
from fdl.report import _data as data
from fdl.report import _figures as figures
from fdl.report import _page as page
from fdl.report import _tables as tables
from fdl.report._findings import Findings

NASTY = [
    "<script>alert(1)</script>", '"onload="alert(1)', "' onclick='x", "</title><img src=x>", "</script><script>alert(1)", "<!--<script>",
    "{{ 7 * 7 }}", "{% raw %}", "a\u2028b\u2029c & d", "$x^{$", "&lt;b&gt;", "\\u003c/script\\u003e", "]]>", "javascript:alert(1)", "`${alert(1)}`",
    "x" * 80, "名前 ə ✓", "tab\tand\nline", "</style><svg onload=x>", "a;b:c", "\ud800",
]  # fmt: skip


class Page(HTMLParser):
    """What could run or be fetched, what is shown, and the embedded data."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.handlers, self.text, self.parts, self._inside = [], [], [], "", {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._inside = dict(attributes).get("id", tag) if tag in ("script", "style") else ""
        for name, value in attributes:
            self.handlers += [name] if name.startswith("on") or name == "style" else []
            self.sources += [value] if name in ("src", "srcset", "href", "action", "data") else []

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, text):
        self.text += text
        if self._inside:
            self.parts[self._inside] = self.parts.get(self._inside, "") + text


def drawn(study):
    return data.figures([Findings(study)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a study whose report is written."""
    return report.write(made_up(["sgd", "adam"], tmp_path_factory.mktemp("study"))).parent


def test_the_page_is_one_file_that_asks_for_nothing_outside(folder):
    parsed = Page((folder / "report.html").read_text())
    links = {f"figures/{name}.{kind}" for name in ("final", "sensitivity", "budget", "curves", "profiles") for kind in ("png", "svg")}
    assert {s for s in parsed.sources if not s.startswith(("data:image/png;base64,", "#"))} == {*links, "study.db"}
    assert {str(path.relative_to(folder)) for path in folder.glob("figures/*")} == links
    assert not {"link", "iframe", "object", "base", "embed"} & set(parsed.tags)
    assert not parsed.handlers
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", parsed.parts["script"] + parsed.parts["style"])
    for path in (folder / "figures").iterdir():
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        else:
            assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_only_the_page_s_own_script_and_style_may_run(folder):
    written = (folder / "report.html").read_text()
    parsed = Page(written)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', written)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        assert f"{kind}-src {page._hash(parsed.parts[kind])}" in policy
    assert parsed.tags.count("script") == 2
    assert parsed.tags.count("style") == 1


def test_the_same_records_give_the_same_files(folder, tmp_path):
    report.write(made_up(["sgd", "adam"], tmp_path))
    for first in folder.rglob("*.*"):
        assert first.read_bytes() == (tmp_path / first.relative_to(folder)).read_bytes()


def hostile(count):
    """Names made of pieces that break out of HTML, attributes, scripts, templates and markup."""
    rng = random.Random(0)
    made = [
        *NASTY,
        *("".join(rng.choices([*NASTY, "<", ">", '"', "'", "&", "/", "=", "\0", "a"], k=rng.randint(2, 5))) for _ in range(count)),
    ]
    return list(dict.fromkeys(made))[:count]


def test_500_hostile_names_add_no_element_and_no_handler(tmp_path):
    """As names of contestants; nothing is judged, which would take minutes for every pair."""
    shown = lambda names: Page(page.render(Findings(made_up(names, tmp_path, trials=1, seeds=1, final_seeds=0, space=()))))
    safe = shown([f"n{i}" for i in range(100)])
    for names in map(list, zip(*[iter(hostile(500))] * 100)):  # a page takes time by the square of their number
        nasty = shown(names)
        assert nasty.tags == safe.tags
        assert nasty.sources == safe.sources
        assert not nasty.handlers
        assert json.loads(nasty.parts["data"])["contestants"] == names
        for name in names:
            assert name.replace("\0", "\ufffd").replace("\ud800", "?") in nasty.text.replace("\0", "\ufffd").replace("\ud800", "?")


@pytest.mark.parametrize("name", NASTY)
def test_whatever_a_study_says_is_shown_as_text(name, tmp_path):
    """In every place that holds a text: names, hyperparameters, cards."""

    def shown(name):
        study = made_up([name, "b"], tmp_path, trials=2, seeds=1, final_seeds=2, space=(name,))
        study.manifest["plan"]["task"].update(source=name, model=[name], name=name, licence=name, more={name: name})
        study.manifest["environment"][name] = name
        return Page(page.render(Findings(study)))

    safe, nasty = shown("a"), shown(name)
    assert nasty.tags == safe.tags
    assert not nasty.handlers
    assert nasty.text.count(name) >= 8


@pytest.mark.parametrize("name", NASTY)
def test_figures_take_any_name(name, tmp_path):
    study = made_up([name, "adam"], tmp_path, trials=2, seeds=1, final_seeds=2)
    svg = figures.svg(figures.final(Findings(study)))
    assert "<script" not in svg.decode("utf-8", "replace")
    ElementTree.fromstring(svg)


CASES = {
    "nothing searched": {"space": (), "trials": 1},
    "nothing searched, no defaults, no costs": {"space": (), "trials": 1, "defaults": False, "costs": False},
    "three hyperparameters": {"space": ("lr", "b1", "b2"), "trials": 8},
    "halving": {"stop": True},
    "one contestant": {},
    "one trial": {"trials": 1},
    "one fresh seed": {"final_seeds": 1},
    "nothing judged yet": {"final_seeds": 0},
    "all diverged": {"diverged": {(n, t) for n in ("sgd", "adam") for t in range(5)}},
    "one contestant diverged": {"diverged": {("sgd", t) for t in range(5)}},
    "loss": {"objective": "loss"},
    "names as values": {"space": ("schedule",), "values": lambda h, u: "abcde"[int(4 * u)], "prior": "one of a, b, c, d, e"},
    "a range with 0": {"values": lambda h, u: float(u) - 0.5, "prior": "-0.5 to 0.5"},
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_study_has_a_page_figures_and_a_table(case, tmp_path):
    study = made_up(["sgd"] if case == "one contestant" else ["sgd", "adam"], tmp_path, **CASES[case])
    findings = Findings(study)
    written = page.render(findings)
    assert {"results", "curves", "task"} <= set(re.findall(r'id="(\w+)"', written))
    assert study.headline() in Page(written).text
    json.loads(Page(written).parts["data"])
    for draw in figures.FIGURES.values():
        figures.png(draw(findings), dpi=20)
    lines = text(study).splitlines()
    assert max(map(len, lines)) <= 80


def test_a_study_of_4000_trials_stays_below_three_megabytes_and_says_what_is_left_out(tmp_path):
    study = made_up([f"contestant {i}" for i in range(40)], tmp_path, trials=100, seeds=1, final_seeds=5, steps=400, every=10)
    written = page.render(Findings(study))
    assert len(written.encode()) < 3_000_000  # 1.6 MB
    curves = json.loads(Page(written).parts["data"])["curves"]
    assert len(curves["runs"]) == data.RUNS
    assert sum(run["phase"] == "final" for run in curves["runs"]) == 200, "the final runs are all there"
    assert f"{data.RUNS} of 4,240 runs are drawn" in written
    assert "each at 18 of its 40 evaluations" in written


def test_thinned_curves_keep_their_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "POINTS", 100)
    study = made_up(["sgd"], tmp_path, steps=1000)
    curves = drawn(study)["curves"]
    assert {(grid[0], grid[-1], len(grid)) for grid in curves["grids"]} == {(10, 1000, 8)}
    final = next(run for run in study.runs if run.phase == "final")
    kept = next(run for run in curves["runs"] if run["phase"] == "final")["curves"][0][1]
    assert [kept[0], kept[-1]] == pytest.approx([final.curves["validation", "accuracy"][i][1] for i in (0, -1)], rel=1e-3)


def test_the_data_hold_every_seed_interval_and_diverged_run(tmp_path):
    study = made_up(["sgd", "adam"], tmp_path, diverged={("adam", 4)})
    shown = drawn(study)["figures"]
    assert shown["final"]["y"]["names"] == ["sgd", "adam"]
    dots = [s for s in shown["final"]["series"] if s.get("mark") == "dot"]
    for result, series in zip(study.results(), dots):
        assert series["x"] == pytest.approx(list(result.test.values()), abs=1e-5)
        assert series["notes"] == [f"seed {seed}" for seed in result.test]
    crosses = [s for s in shown["sensitivity0"]["series"] if s.get("mark") == "cross"]
    assert [(s["c"], s["x"], s["notes"]) for s in crosses] == [(1, [1], ["2 diverged"])]
    curves = drawn(study)["curves"]
    assert len(curves["runs"]) == len(study.runs)
    assert any("diverged at step 60" in run["note"] for run in curves["runs"])
    assert curves["axes"] == ["steps", "gradient evaluations", "seconds"]
    assert curves["per_step"] == [[[1, 1, 2e-4], [1, 2, 4e-4]]]


def test_a_default_that_was_not_searched_has_its_place_among_names(tmp_path):
    study = made_up(["sgd"], tmp_path, space=("schedule",), trials=3, values=lambda h, u: "abc"[int(2 * u)], prior="one of a, b, c")
    for run in study.runs:
        if run.phase == "default":
            run.hyperparameters["schedule"] = "none"
    shown = drawn(study)["figures"]["sensitivity0"]
    assert shown["x"]["names"] == ["a", "b", "c", "none"]
    assert [(s["x"], s["mark"]) for s in shown["series"]] == [([0, 1, 2], "dot"), ([1], "ring"), ([3], "diamond")]
    figures.png(figures.sensitivity(Findings(study)), dpi=20)


def test_seconds_and_gradients_are_left_out_where_they_were_not_measured(tmp_path):
    study = made_up(["sgd", "adam"], tmp_path, costs=False)
    assert drawn(study)["curves"]["axes"] == ["steps"]
    written = page.render(Findings(study))
    assert 'id="costs"' not in written
    assert "Seconds are steps" not in written


def test_tables_sort_by_numbers_and_say_what_was_found(tmp_path):
    study = made_up(["sgd", "adam"], tmp_path, diverged={("sgd", 4)})
    findings = Findings(study)
    results = tables.results(findings)
    row = dict(zip(results.heads, results.rows[0]))
    first = study.results()[0]
    assert row["test mean, 95 %"].value == pytest.approx(first.mean.value, rel=1e-5)
    assert row["test mean, 95 %"].small == f"{first.mean.low:.4f} to {first.mean.high:.4f}"
    assert row["diverged"].text == "2 of 15"
    pair = dict(zip(tables.comparisons(findings.comparisons).heads, tables.comparisons(findings.comparisons).rows[0]))
    assert (pair["better mean"].text, pair["other"].text, pair["verdict"].text) == ("sgd", "adam", "no evidence")
    assert len(tables.trials(findings).rows) == 2 * (5 + 1), "every trial and the defaults"
    reached = tables.targets(findings)
    assert reached.heads[1 + len(study.targets()) :] == [f"profile score, {axis}" for axis in ("steps", "gradient evaluations", "seconds")]
    assert reached.rows[0][1].small.startswith("5 of 5, ")
    seconds = dict(zip(tables.costs(findings).heads, tables.costs(findings).rows[1]))
    assert (seconds["one step alone"].text, seconds["one run alone"].text) == ("400 µs", "40 ms")
    card = dict(zip(tables.space(findings).heads, tables.space(findings).rows[1]))
    assert (card["searched"].text, card["fixed"].text, card["gradient evaluations"].text) == ("lr 0.0001 to 1, log", "eps 1e-08", "2,000")


@pytest.mark.parametrize(("seconds", "said"), [(2e-6, "2 µs"), (0.0012, "1.2 ms"), (12.3, "12.3 s"), (599, "599 s"), (3600, "60 min")])
def test_durations_are_readable(seconds, said):
    assert tables.duration(seconds) == said


def test_diverged_and_edge_cases_are_said_in_the_terminal(tmp_path):
    shown = text(made_up(["sgd", "adam"], tmp_path, trials=3, diverged={("sgd", 0), ("sgd", 1), ("adam", 1)}))
    assert "sgd: lr at the edge of its range; 5 of 5 fresh seeds diverged." in shown
    assert "adam: lr at the edge of its range; 5 of 5 fresh seeds diverged." in shown
    assert "9 of 11" in shown


def test_the_usual_table_fits_eighty_columns(tmp_path):
    names = ["sgd", "momentum", "adagrad", "adadelta", "rmsprop", "adam"]
    lines = text(made_up(names, tmp_path, diverged={("sgd", 4)}, final_seeds=10)).splitlines()
    rows = [line for line in lines if re.match(rf"\s*({'|'.join(names)}) +lr", line)]
    assert len(rows) == 6
    assert all("±" in row for row in rows), "a row is broken over two lines"
    assert max(map(len, lines)) <= 80


def test_records_are_linked_where_they_are(tmp_path):
    study = made_up(["sgd", "adam"], tmp_path)
    (tmp_path / "records.csv").touch()
    sources = Page(page.render(Findings(study))).sources
    assert {"study.db", "records.csv"} <= set(sources)
    assert "records.jsonl" not in sources


def test_every_contestant_is_drawn_in_every_figure(tmp_path):
    findings = Findings(made_up(["sgd", "adam"], tmp_path, diverged={("sgd", 4)}))
    final, sensitivity, budget, curves, profiles = (draw(findings) for draw in figures.FIGURES.values())
    assert [t.get_text() for t in final.axes[0].get_yticklabels()] == ["adam", "sgd"]
    for figure in (sensitivity, budget, profiles):
        assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["sgd", "adam"]
    assert [axes.get_title(loc="left") for axes in curves.axes if axes.get_visible()] == ["sgd", "adam"]
    assert [t.get_text() for t in sensitivity.axes[0].texts] == ["2"], "the diverged seeds are counted"


def two(tmp_path, **changes):
    made = []
    for name, options in (("a", {}), ("b", {"steps": 200, **changes})):
        (tmp_path / name).mkdir()
        made.append(made_up(["sgd", "adam"] if name == "a" else ["sgd", "lion"], tmp_path / name, **options))
    return made


def test_two_studies_stand_side_by_side_with_their_differences_marked(tmp_path):
    path = report.write_comparison(two(tmp_path), tmp_path / "both.html")
    parsed = Page(path.read_text())
    shown = json.loads(parsed.parts["data"])
    assert shown["studies"] == ["a", "b"]
    assert shown["contestants"] == ["sgd", "adam", "lion"]
    assert shown["figures"]["final"]["y"]["names"] == ["sgd · a", "sgd · b", "adam · a", "lion · b"]
    assert {(run["s"], run["c"]) for run in shown["curves"]["runs"]} == {(0, 0), (0, 1), (1, 0), (1, 2)}
    marked = re.findall(r'<tr class="differs"><td>([^<]*)</td>', path.read_text())
    assert "steps" in marked
    assert "lion optimizer" in marked
    assert "parameters" not in marked
    assert "The studies differ in task and search space" in parsed.text


def test_studies_of_different_objectives_are_refused(tmp_path):
    with pytest.raises(FdlError, match="one objective"):
        report.write_comparison(two(tmp_path, objective="loss"), tmp_path / "both.html")
    with pytest.raises(FdlError, match="at least 2"):
        report.write_comparison([], tmp_path / "both.html")
    assert not (tmp_path / "both.html").exists()


def test_studies_in_folders_of_one_name_are_told_apart(tmp_path):
    studies = [made_up(["sgd"], tmp_path / place / "s") for place in ("x", "y")]
    assert page._labels(studies) == ["x/s", "y/s"]


def text(study):
    console = Console(width=80, file=io.StringIO())
    console.print(report.table(study))
    return console.file.getvalue()


def test_the_terminal_gives_the_corrected_p_of_what_is_behind_the_leader(tmp_path):
    study = made_up(["sgd", "adam"], tmp_path / "s")
    (pair,) = study.comparisons()
    row = next(line for line in text(study).splitlines() if line.split()[:1] == [pair.worse])
    assert tables.probability(pair.p_holm) in row
