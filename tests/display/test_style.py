"""The frame of every figure, and the meaning of its colours."""

from __future__ import annotations

import pytest

from harmviz.display.style import BENIGN, CATEGORY_COLOURS, HARM, Theme, category_colour, framed, rgba


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_on_the_paper(dark: bool) -> None:
    theme = Theme(dark=dark)
    assert contrast(theme.ink, theme.paper) >= 12
    assert contrast(theme.quiet, theme.paper) >= 4.5
    assert contrast(HARM, theme.paper) >= 3
    assert contrast(BENIGN, theme.paper) >= 3


@pytest.mark.parametrize("dark", [False, True])
def test_the_signed_scale_is_centred_and_runs_from_benign_blue_to_harm_vermilion(dark: bool) -> None:
    scale = Theme(dark=dark).signed_scale
    assert [stop for stop, _ in scale] == [0, 0.25, 0.5, 0.75, 1]
    assert (scale[0][1], scale[-1][1]) == (BENIGN, HARM)
    middle = luminance(scale[2][1])
    assert all((luminance(c) < middle) != dark for _, c in (scale[0], scale[-1]))


def test_categories_never_wear_the_colours_of_harm_and_benign() -> None:
    categories = ("a", "b", "c", "d", "e", "f", "g", "h", "i")
    colours = [category_colour(c, categories) for c in categories]
    assert not {HARM, BENIGN} & set(colours)
    assert len(set(colours)) == len(CATEGORY_COLOURS) == 8
    assert colours[8] == colours[0], "a ninth category begins again"


def test_more_lines_and_a_larger_room_make_a_taller_frame() -> None:
    one = framed(Theme(), "t", "s", height=300).layout
    two = framed(Theme(), "t", "s<br>s<br>s", height=300).layout
    assert two.height > one.height
    assert two.height - two.margin.t == pytest.approx(one.height - one.margin.t, abs=1), (
        "the plot itself keeps its height"
    )
    large = framed(Theme(scale=1.3), "t", "s", height=300).layout
    assert large.height == pytest.approx(1.3 * one.height, abs=2)
    assert large.font.size == pytest.approx(1.3 * one.font.size)


def test_rgba() -> None:
    assert rgba("#D55E00", 0.5) == "rgba(213,94,0,0.5)"
