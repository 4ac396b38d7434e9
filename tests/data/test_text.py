"""Texts in streams, and the adding problem: what a batch holds, and that batches follow one another."""

import hashlib
import re
from collections import Counter

import numpy as np
import pytest

from fdl import FdlError, data


def decoded(dataset, numbers):
    return "".join(dataset.vocabulary[n] for n in numbers)


TEXT = "".join(chr(97 + i % 7) + "".join(chr(65 + d) for d in divmod(i * i, 26)[1:]) for i in range(200))  # 400 characters


def test_each_stream_reads_on_where_the_batch_before_ended():
    dataset = data.characters(TEXT, streams=3, steps=5)
    assert len(TEXT) == 400
    parts = {"validation": TEXT[:80], "train": TEXT[80:320], "test": TEXT[320:]}
    for name, part in parts.items():
        split = getattr(dataset, name)
        windows = (len(part) - 1) // 15
        characters, starts = split.inputs
        assert characters.shape == split.labels.shape == (3 * windows, 5)
        assert starts.tolist() == [True] * 3 + [False] * (3 * windows - 3)
        for stream in range(3):
            begin = stream * windows * 5
            assert decoded(dataset, characters[stream::3].ravel()) == part[begin : begin + windows * 5]
            assert decoded(dataset, split.labels[stream::3].ravel()) == part[begin + 1 : begin + windows * 5 + 1]


def test_characters_are_numbered_by_how_often_they_occur():
    dataset = data.characters("abbcccb" * 60, streams=1, steps=4, held_out=0.1)
    assert dataset.vocabulary == "bca"  # b and c are equal: the first one first


def test_a_text_too_short_is_told():
    with pytest.raises(FdlError) as caught:
        data.characters("ab" * 30, "poem", streams=3, steps=5)
    assert str(caught.value) == "data set poem: found 12 characters in a part; expected more than 15, 3 streams of 5 steps."


def test_the_sonnets_are_all_there():
    dataset = data.sonnets(streams=1, steps=10)
    whole = "".join(decoded(dataset, getattr(dataset, name).inputs[0].ravel()) for name in ("validation", "train", "test"))
    assert dataset.vocabulary[:5] == " etoh"
    assert len(dataset.vocabulary) == 62
    assert whole.startswith("THE SONNETS\nby William Shakespeare\n\nI\n\nFrom fairest creatures we desire increase,\n")
    assert len(re.findall(r"(?m)^[IVXLC]+$", whole)) >= 152  # of 154: a numeral may fall where parts meet


def test_war_and_peace_is_read_from_a_folder(tmp_path):
    text = "Eh bien, mon prince.\r\nÀ la fin " * 300
    (tmp_path / "input.txt").write_bytes(text.encode())
    dataset = data.tolstoi(tmp_path, streams=2, steps=7)
    assert dataset.vocabulary == "".join(c for c, _ in Counter(text).most_common())  # \r counts, as in DeepOBS
    assert hashlib.sha256(text.encode()).hexdigest() in dataset.source
    assert decoded(dataset, dataset.validation.inputs[0][0]) == text[:7]
    assert [len(s) // 2 for s in (dataset.train, dataset.validation, dataset.test)] == [(5580 - 1) // 14, *[(1860 - 1) // 14] * 2]
    (tmp_path / "input.txt").write_bytes(b"abc\xff")
    for folder, found in ((None, "no folder"), (tmp_path / "nowhere", "no input.txt in"), (tmp_path, "byte 3 that is not UTF-8")):
        with pytest.raises(FdlError, match=found):
            data.tolstoi(folder)


def test_the_adding_problem_is_hochreiter_and_schmidhuber_s():
    dataset = data.adding(steps=100, examples=3000)
    (series, lengths), label = dataset.train.inputs, dataset.train.labels
    assert series.shape == (3000, 110, 2)
    assert label.shape == (3000, 1)
    assert set(lengths) == set(range(100, 111))
    values, marks = np.moveaxis(series, -1, 0)
    firsts = 0
    for x, m, n, y in zip(values, marks, lengths, label[:, 0]):
        assert m[0] == m[n - 1] == -1
        assert not m[n:].any()
        assert not x[n:].any()
        places = np.flatnonzero(m == 1)
        assert abs(y - (0.5 + x[places].sum() / 4)) < 1e-6
        assert set(m) <= {-1, 0, 1}
        assert (m == -1).sum() == 2
        firsts += len(places) == 1  # the very first place was drawn, and counts as 0
        assert len(places) in (1, 2)
        assert places.min() < 10 or len(places) == 1
        assert places.max() <= 49
    assert 300 < firsts < 420  # 1/10 + 9/10 x 1/49 of 3,000 is 355, deviation 18
    assert abs(label.var() * 24 - 1) < 0.12  # measured 0.94: a tenth of the first ones counts as 0
    with pytest.raises(FdlError, match="at least 24"):
        data.adding(steps=20)
