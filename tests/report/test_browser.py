"""The page in a real browser: Debian's chromium, headless. Where there is none, these tests are skipped, and the summary says so."""

import re

import pytest
from chromium import Chromium, find
from made_up import made_up

from fdl import report
from fdl.report import _page as page
from fdl.report._findings import Findings

pytestmark = pytest.mark.skipif(find() is None, reason="no chromium to open the report with (Debian: apt-get install chromium)")

NAMES = ["sgd", "adam", "<b>&amp;\u2028</script>"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A study's page, that of one with a long name in every place, and two side by side."""
    folder = tmp_path_factory.mktemp("pages")
    studies = {
        "usual": made_up(NAMES, folder / "usual", diverged={("adam", 4)}),
        "long": made_up(["x" * 80, "y " * 40], folder / "long", space=("z" * 60, "b1"), trials=8),
        "lost": made_up(["sgd"], folder / "lost", diverged={("sgd", t) for t in range(5)}),
        "many": made_up([f"c{i}" for i in range(12)], folder / "many", trials=3),
    }
    for name, study in studies.items():
        (folder / f"{name}.html").write_text(page.render(Findings(study)))
    report.write_comparison([studies["usual"], studies["lost"]], folder / "both.html")
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("name", ["usual", "long", "lost", "many", "both"])
def test_a_page_opens_without_errors_requests_or_sideways_scrolling(chromium, pages, name, width, scheme):
    chromium.open(pages / f"{name}.html", width=width, scheme=scheme, mobile=width < 500)
    assert chromium.evaluate("document.documentElement.scrollWidth") == width
    drawn = chromium.evaluate("[...document.querySelectorAll('[data-figure]')].map(f => f.querySelectorAll(':scope > svg').length)")
    assert drawn
    assert set(drawn) == {1}
    paper = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) > 600) == (scheme == "light")
    assert chromium.errors == []
    assert chromium.requests == [f"file://{pages}/{name}.html"]


def test_no_text_of_the_page_is_faint_in_either_scheme(chromium, pages):
    """WCAG's contrast of text and paper, at least 4.5."""
    measure = """(() => {
      const light = (c) => c.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const paper = light(getComputedStyle(document.body).backgroundColor);
      return [...document.querySelectorAll("h1, p, td, th, dt, figcaption, svg text, .chip")].map((e) => {
        const ink = light(getComputedStyle(e)[e.namespaceURI.endsWith("svg") ? "fill" : "color"]);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      }).reduce((a, b) => Math.min(a, b));
    })()"""
    for scheme in ("light", "dark"):
        chromium.open(pages / "usual.html", scheme=scheme)
        least = chromium.evaluate(measure)
        print(f"contrast {scheme} {least:.1f}")
        assert least > 4.5  # 6.1 light, 7.5 dark


def column(chromium, table, head):
    script = """(() => {
      const table = document.querySelectorAll("table.sort")[%d], heads = [...table.tHead.rows[0].cells];
      const at = heads.findIndex((h) => h.textContent.trim() === "%s");
      return [[...table.tBodies[0].rows].map((r) => r.cells[at].firstChild?.textContent ?? ""), heads[at].getAttribute("aria-sort")];
    })()"""
    return chromium.evaluate(script % (table, head))


def press(chromium, selector, key=None):
    """A click at an element's middle, or a key while it has the focus."""
    chromium.evaluate(f"document.querySelector({selector!r}).scrollIntoView({{ block: 'center' }})")
    if key:
        chromium.evaluate(f"document.querySelector({selector!r}).focus()")
        return chromium.key(key)
    where = f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] }})()"
    return chromium.mouse("click", *chromium.evaluate(where))


def test_a_table_sorts_by_a_click_and_by_the_keyboard(chromium, pages):
    chromium.open(pages / "usual.html")
    values, sorted_by = column(chromium, 0, "test mean, 95 %")
    assert sorted_by is None
    assert values == sorted(values, reverse=True), "best first"
    press(chromium, "table.sort th:nth-child(3) button")
    assert column(chromium, 0, "test mean, 95 %") == [sorted(values), "ascending"]
    press(chromium, "table.sort th:nth-child(3) button", "Enter")
    assert column(chromium, 0, "test mean, 95 %") == [sorted(values, reverse=True), "descending"]
    press(chromium, "table.sort th:nth-child(1) button")
    assert column(chromium, 0, "optimizer") == [sorted(NAMES), "ascending"]
    assert column(chromium, 0, "test mean, 95 %")[1] is None
    assert chromium.errors == []


def test_what_is_missing_is_sorted_last_both_ways(chromium, pages):
    chromium.open(pages / "usual.html")
    at = chromium.evaluate(
        "[...document.querySelector('table.sort').tHead.rows[0].cells].findIndex(h => h.textContent.trim() === 'diverged') + 1"
    )
    for _ in range(2):
        press(chromium, f"table.sort th:nth-child({at}) button")
        assert column(chromium, 0, "diverged")[0] == ["2 of 15", "", ""]


def count(chromium, figure, selector):
    return chromium.evaluate(f"document.querySelectorAll('[data-figure={figure}] > svg {selector}').length")


def test_contestants_are_switched_off_and_on_in_every_figure(chromium, pages):
    chromium.open(pages / "usual.html")
    before = count(chromium, "curves", ".line.c1"), count(chromium, "sensitivity0", ".line.c1"), count(chromium, "budget", ".line.c1")
    assert before == (5 + 1, 1, 1), "fresh seeds and their mean"
    others = count(chromium, "curves", ".line.c0")
    chip = "[data-figure=curves] [data-key=c1]"
    press(chromium, chip)
    assert chromium.evaluate(f"document.querySelector('{chip}').ariaPressed") == "false"
    for figure in ("curves", "sensitivity0", "budget", "profiles"):
        assert count(chromium, figure, ".c1") == 0
    assert count(chromium, "curves", ".line.c0") == others
    assert count(chromium, "final", ".c1"), "the answer stays whole"
    press(chromium, "[data-figure=budget] [data-key=c1]", "Enter")
    assert (
        count(chromium, "curves", ".line.c1"),
        count(chromium, "sensitivity0", ".line.c1"),
        count(chromium, "budget", ".line.c1"),
    ) == before
    press(chromium, "[data-figure=curves] .all:last-child")
    assert count(chromium, "curves", ".line") == 0
    assert "nothing finite to show" in chromium.evaluate("document.querySelector('[data-figure=curves] > svg').textContent")
    assert chromium.errors == []


def test_many_contestants_begin_with_the_ten_best(chromium, pages):
    chromium.open(pages / "many.html")
    assert chromium.evaluate("[...document.querySelectorAll('[data-figure=curves] [aria-pressed=false]')].map(c => c.textContent)") == [
        "c10",
        "c11",
    ]
    press(chromium, "[data-figure=curves] .all")
    assert count(chromium, "curves", ".line.c0") == 2 * (5 + 1), "the eleventh has the first's colour and dashes"
    assert count(chromium, "curves", ".line.dash1") == 2 * (5 + 1)


def choose(chromium, name, value):
    chromium.evaluate(
        f"(() => {{ const s = document.querySelector('[name={name}]'); s.value = {value!r}; s.dispatchEvent(new Event('change', {{ bubbles: true }})) }})()"
    )


def test_curves_are_shown_against_steps_gradients_and_seconds_and_by_split(chromium, pages):
    chromium.open(pages / "usual.html")
    labels = "[...document.querySelectorAll('[data-figure=curves] > svg .label')].map(t => t.textContent)"
    assert chromium.evaluate(labels) == ["step", "1 − validation accuracy"]
    widths = {}
    for axis in ("steps", "gradient evaluations", "seconds"):
        choose(chromium, "axis", axis)
        assert chromium.evaluate(labels)[0] == ("step" if axis == "steps" else axis)
        box = "(() => { const b = document.querySelector('[data-figure=curves] > svg .line.run.c%d').getBBox(); return b.width })()"
        widths[axis] = chromium.evaluate(box % 1) / chromium.evaluate(box % 0)
    assert widths["steps"] == pytest.approx(1, abs=0.01)
    assert widths["gradient evaluations"] == pytest.approx(2, abs=0.02)
    assert widths["seconds"] == pytest.approx(2, abs=0.02)
    choose(chromium, "metric", "2")
    assert chromium.evaluate(labels)[1] == "train loss"
    chromium.evaluate("document.querySelector('[name=log]').click()")
    assert chromium.evaluate(labels)[1] == "train loss"
    final = count(chromium, "curves", ".line")
    choose(chromium, "phase", "all")
    assert count(chromium, "curves", ".line") == final - 3 + 3 * (5 * 2 + 2), "tuning and default runs, without the means"
    assert chromium.errors == []


def test_the_pointer_names_contestant_rate_and_seed(chromium, pages):
    chromium.open(pages / "usual.html")
    press(chromium, "[data-figure=curves] [data-key=c0]")
    press(chromium, "[data-figure=curves] [data-key=c2]")
    where = """(() => {
      const line = document.querySelector("[data-figure=curves] > svg .line.run.c1"), m = line.getScreenCTM(), p = line.getPointAtLength(0);
      return [p.x * m.a + m.e, p.y * m.d + m.f];
    })()"""
    chromium.evaluate("document.querySelector('[data-figure=curves] > svg').scrollIntoView({ block: 'center' })")
    x, y = chromium.evaluate(where)
    chromium.mouse("mouseMoved", x, y)
    shown = chromium.evaluate("document.getElementById('tip').innerText").split("\n")
    assert shown[:2] == ["adam", "lr 0.01"]
    assert re.fullmatch(r"fresh seeds, trial 2, seed 100\d", shown[2])
    assert shown[3] == "step 10"
    assert re.fullmatch(r"validation accuracy 0\.\d+", shown[4])
    assert chromium.evaluate("document.querySelectorAll('[data-figure=curves] .hot .line').length") == 1
    chromium.mouse("mouseMoved", 2, 2)
    assert chromium.evaluate("document.getElementById('tip').hidden")


def test_a_tooltip_stays_in_the_window_of_a_phone(chromium, pages):
    chromium.open(pages / "long.html", width=375, height=800)
    chromium.evaluate("document.querySelector('[data-figure=final] > svg').scrollIntoView({ block: 'center' })")
    for share in (0.4, 0.9):
        frame = chromium.evaluate(
            "(() => { const r = document.querySelector('[data-figure=final] > svg .mean').getBoundingClientRect(); return [r.x, r.y, innerWidth] })()"
        )
        chromium.mouse("mouseMoved", frame[0] + 20 * share, frame[1])
        left, right = chromium.evaluate(
            "(() => { const r = document.getElementById('tip').getBoundingClientRect(); return [r.left, r.right] })()"
        )
        assert 0 < left < right <= 375


def test_studies_side_by_side_are_switched_too(chromium, pages):
    chromium.open(pages / "both.html")
    choose(chromium, "phase", "all")
    assert count(chromium, "curves", ".dash1")
    press(chromium, "[data-figure=curves] [data-key=s1]")
    assert count(chromium, "curves", ".dash1") == 0
    assert count(chromium, "curves", ".dash0")
    assert chromium.errors == []


def test_the_page_prints(chromium, pages, tmp_path):
    chromium.open(pages / "usual.html", scheme="dark")
    chromium.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    paper, controls = chromium.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.controls')).display]"
    )
    assert (paper, controls) == ("rgb(255, 255, 255)", "none")
    chromium.print(tmp_path / "page.pdf")
    assert 2 <= (tmp_path / "page.pdf").read_bytes().count(b"/Type /Page\n") <= 12


def test_without_scripts_the_answer_and_its_figure_are_still_there(chromium, pages):
    chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(pages / "usual.html", wait=False)
        shown = chromium.call("DOM.getDocument", depth=-1, pierce=True)
        assert '"IMG"' in str(shown).replace("'", '"')
    finally:
        chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    assert chromium.errors == []
