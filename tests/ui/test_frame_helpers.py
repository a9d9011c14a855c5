"""What every page starts with: titles and errors as text, and a link that reopens exactly this view."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.worlds.charts import markup


def errors() -> None:
    from harmviz.errors import HarmvizError
    from harmviz.ui import frame

    with frame.shown_errors():
        raise HarmvizError("runs/<img src=x>: damaged; restore it")


def fault() -> None:
    from harmviz.ui import frame

    with frame.shown_errors():
        raise ValueError("a fault")


def link() -> None:
    import streamlit as st

    from harmviz.ui import frame

    st.text(frame.view_url())


def sections() -> None:
    from harmviz.ui import frame

    frame.section("A <b>heading</b>", "About the harm score & <i>more</i>")
    frame.section("Alone")


def test_a_deliberate_error_is_one_escaped_line() -> None:
    app = AppTest.from_function(errors).run()
    assert not app.exception
    page = markup(app)
    assert 'role="alert">runs/&lt;img src=x&gt;: damaged; restore it<' in page
    assert "<img" not in page


def test_any_other_error_surfaces_without_what_it_says() -> None:
    """The message of a fault may quote a prompt: a visitor learns that there is one, the log says where."""
    (shown,) = AppTest.from_function(fault).run().exception
    assert "has encountered an error" in shown.message
    assert "a fault" not in shown.message


def test_the_link_keeps_every_setting_also_those_with_several_values() -> None:
    app = AppTest.from_function(link)
    app.query_params["compare_runs"] = ["a run", "b"]
    app.query_params["q"] = "0.01 %"
    assert app.run().text[0].value.endswith("?compare_runs=a+run&compare_runs=b&q=0.01+%25")


def test_the_link_of_an_untouched_view_has_no_settings() -> None:
    assert "?" not in AppTest.from_function(link).run().text[0].value


def test_sections_escape_their_heading_and_explain_their_text() -> None:
    page = markup(AppTest.from_function(sections).run())
    assert "A &lt;b&gt;heading&lt;/b&gt;" in page
    assert "<i>" not in page
    assert page.count("hv-term") == 1
    assert page.count("hv-section") == 2
