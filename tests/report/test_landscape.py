"""Pictures of trajectories: from records alone, whole, and refused for what is no landscape."""

import dataclasses
import re
import xml.etree.ElementTree as ElementTree

import jax
import numpy as np
import pytest

from fdl import FdlError, compare, optim, report, tasks, train
from fdl.compare import space
from fdl.report import _landscape as pictures

NASTY = '$\\frac" onload="alert(1)<b>'


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    task = dataclasses.replace(tasks.get("beale"), steps=6)
    contestants = {NASTY: optim.SGD(lr=space.log(1e-3, 1e4)), "adam": optim.Adam(lr=space.log(1e-2, 1))}
    return compare.study(task, contestants, trials=2, seeds=2, final_seeds=3, folder=tmp_path_factory.mktemp("beale"), display=False)


def test_tracks_are_the_runs_that_the_library_makes(study):
    tracks = pictures._tracks(study, tasks.landscapes["beale"])
    assert {track.contestant for track in tracks} == {NASTY, "adam"}
    for track in tracks:
        assert [run.seed for run in track.runs] == [1000, 1001, 1002]
        lr = track.runs[1].hyperparameters["lr"]
        optimizer = optim.Adam(lr=lr) if track.contestant == "adam" else optim.SGD(lr=lr)
        task, key = dataclasses.replace(tasks.get("beale"), steps=6), jax.random.key(1001)
        begun = train.start(task, optimizer, key).params
        np.testing.assert_array_equal(track.paths[1][0], begun)
        np.testing.assert_allclose(track.curves[1][0], [0, task.measure(begun, {}, np.zeros((1, 2), np.float32))[0]["loss"]], rtol=1e-6)
        _, curves = train.run(task, optimizer, key)
        want = np.stack([curves["validation"][name] for name in ("x", "y")], 1)
        np.testing.assert_allclose(track.paths[1][1:], want, rtol=1e-5)  # measured 0
        assert track.curves[1][:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_both_pictures_are_written_and_repeat(study):
    png, svg = report.write_landscape(study)
    assert png.read_bytes().startswith(b"\x89PNG")
    first = svg.read_bytes()
    tree = ElementTree.fromstring(first)  # well-formed, whatever a contestant is called
    tags = [re.sub("{.*}", "", element.tag) for element in tree.iter()]
    assert "script" not in tags
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
    assert tags.count("polyline") == 4, "two contestants in two panels"
    assert tags.count("animate") == 12
    assert len(first) < 500_000
    report.write_landscape(study)
    assert svg.read_bytes() == first


def test_every_frame_has_a_place_and_lines_end_where_their_dots_do(study):
    land = tasks.landscapes["beale"]
    tree = ElementTree.fromstring(pictures.animation(land, pictures._tracks(study, land)))
    space = "{http://www.w3.org/2000/svg}"
    lines, dots = (list(tree.iter(space + tag)) for tag in ("polyline", "circle"))
    for line, dot in zip(lines, dots, strict=True):
        points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        assert len(points) == 7
        assert points[-1] == (float(dot.get("cx")), float(dot.get("cy")))
        for animated in (*line, *dot):
            values = [float(value) for value in animated.get("values").split(";")]
            assert len(values) == 8  # the end is held
            assert np.isfinite(values).all()


def test_a_diverged_run_stays_where_it_was(study):
    run = next(run for run in study.runs if run.phase == "final")
    lost = {key: [(step, np.nan if step > 2 else value) for step, value in curve] for key, curve in run.curves.items()}
    path, curve = pictures._from_start(dataclasses.replace(run, curves=lost, diverged_at=3), tasks.landscapes["beale"])
    assert np.isfinite(path).all()
    assert (path[3:] == path[2]).all()
    assert (curve[3:, 1] == curve[2, 1]).all()


def test_names_of_near_ends_are_pushed_apart():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.set(ylim=(0, 1))
    tracks = [pictures.Track(name, "black", "", [], [], []) for name in "abcd"]
    pictures._end_labels(axes, tracks, [0.5, 0.51, 0.5, 0.9])
    places = np.sort([text.get_position()[1] for text in axes.texts])
    assert np.diff(places).min() > 0.05


def test_a_landscape_of_ones_own_is_drawn(tmp_path):
    bowl = tasks.Landscape("bowl", lambda x, y: x**2 + 10 * y**2, "x^2 + 10 y^2", (1, 1), ((0, 0),), ((-2, 2), (-2, 2)), steps=5)
    study = compare.study(
        bowl.task(), [optim.SGD(lr=space.log(1e-3, 1e-1))], trials=2, seeds=1, final_seeds=2, folder=tmp_path, display=False
    )
    with pytest.raises(FdlError, match="found a study of bowl; expected a study of one of rosenbrock, beale"):
        report.write_landscape(study)
    assert all(path.exists() for path in report.write_landscape(study, bowl))


def test_a_study_of_which_nothing_was_chosen_is_refused(tmp_path):
    study = compare.study(
        dataclasses.replace(tasks.get("beale"), steps=2), [optim.SGD(lr=space.log(1e37, 3e38))],
        trials=2, seeds=1, final_seeds=2, folder=tmp_path, display=False,
    )  # fmt: skip
    with pytest.raises(FdlError, match="found a study of beale without a chosen trial"):
        report.write_landscape(study)
