"""Reading a Plotly chart in the page: what is drawn anew while it is read is read again."""

from __future__ import annotations

from typing import Any

from tests.browser.waiting import WAIT

_READ = """([chart, unlike]) => {
    const g = document.querySelector(chart);
    if (!g?.querySelector('.main-svg')) return null;
    let read;
    try { read = (WHAT)(g); } catch (e) { if (e instanceof TypeError) return null; throw e; }
    return read === undefined || read === null || JSON.stringify(read) === JSON.stringify(unlike) ? null : [read];
}"""


def read(page: Any, chart: str, what: str, *, unlike: Any = None) -> Any:
    """What ``what`` (JavaScript, a function of the plot) gives for ``chart`` (a selector).

    Waits until the chart is drawn and has what is read; with ``unlike``, until it is something else. A chart that
    Streamlit takes away and draws anew between two steps is waited for: looking once that it is there and reading
    it in another step finds nothing whenever a machine is slow.
    """
    return page.wait_for_function(_READ.replace("WHAT", what), arg=[chart, unlike], timeout=WAIT).json_value()[0]


def title_of(page: Any, chart: str, *, unlike: str | None = None) -> str:
    return str(read(page, chart, "g => g.layout.title.text", unlike=unlike))


def z_of(page: Any, chart: str, *, unlike: str | None = None) -> str:
    """The numbers of a chart's first heatmap, as text that can be compared."""
    return str(
        read(page, chart, "g => JSON.stringify(Array.from(g._fullData[0].z, r => Array.from(r)))", unlike=unlike)
    )
