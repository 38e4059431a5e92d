"""The picture of the curves: lines where the values are, and everything inside."""

import numpy as np
import pytest
from test_curves_panels import curves

from partseg_cli.reports.curves.history import Score
from partseg_cli.reports.curves.panels import COLOURS
from partseg_cli.reports.curves.picture import loss_plot
from partseg_cli.reports.overlay import PAPER

SCORES = tuple(Score(step, "oracle-obj", {"seen": 9.0 + step, "unseen": 5.0}) for step in (1, 40))
FALLING, RISING = np.linspace(9, 1, 40), np.linspace(1, 9, 40)


def pixels(total, title: str = "a run", size: tuple[int, int] = (600, 400), **more) -> np.ndarray:
    return np.asarray(loss_plot(curves(total, **more), title, size)).astype(int)


def blue(picture: np.ndarray) -> np.ndarray:
    """Give rows and columns of the pixels in the colour of the total, outside of the legend."""
    wanted = [int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)]
    found = np.argwhere(np.abs(picture - wanted).max(2) < 25)
    return found[found[:, 0] > 90]


def test_a_falling_line_falls_and_a_rising_one_rises():
    for values, sign in ((FALLING, 1), (RISING, -1)):
        rows, columns = blue(pixels(values)).T
        assert np.corrcoef(rows, columns)[0, 1] * sign > 0.95
    assert (pixels(FALLING) != pixels(RISING)).any()


@pytest.mark.parametrize("scores", [(), SCORES])
def test_the_picture_has_its_size_and_nothing_touches_its_edges(scores):
    picture = pixels(FALLING, "t" * 300, (700, 500), scores=scores, part=RISING, object_part=FALLING)
    assert picture.shape == (500, 700, 3)
    edge = np.concatenate([picture[:3].reshape(-1, 3), picture[-2:].reshape(-1, 3), picture[:, :3].reshape(-1, 3)])
    assert (edge == PAPER).all()
    assert (picture[:, -2:] == PAPER).all()


def test_labels_stand_left_of_the_frame_and_below_it():
    picture = pixels(FALLING)
    inked = (picture < 150).all(2)
    assert inked[80:, :60].any()
    assert inked[-24:, 70:].any()


def test_terms_and_scores_get_panels_of_their_own():
    orange = [int(COLOURS[1][i : i + 2], 16) for i in (1, 3, 5)]

    def has_orange(picture: np.ndarray) -> list[bool]:
        near = np.abs(picture - orange).max(2) < 25
        below = near[len(near) // 2 :]
        return [bool(half.any()) for half in np.array_split(below, 2, axis=1)]

    assert has_orange(pixels(FALLING)) == [False, False]
    assert has_orange(pixels(FALLING, part=RISING, other=FALLING)) == [True, True]
    assert has_orange(pixels(FALLING, scores=SCORES)) == [True, True]
    assert has_orange(pixels(FALLING, scores=SCORES, part=RISING)) == [False, True]


def test_one_step_is_a_dot_and_none_is_told_in_words():
    assert len(blue(pixels([5.0]))) > 10
    empty = pixels([])
    assert (empty != PAPER).any()
    assert len(blue(empty)) == 0
