"""The plain table of the pages, as markup."""

from __future__ import annotations

from collections.abc import Collection

from harmviz.display.glossary import explained

#: A line above a row.
_BREAK = ' class="break"'


def rows_table(head: list[str], body: list[list[str]], breaks: Collection[int] = ()) -> str:
    """An HTML table; cells are markup already, headings plain text. ``breaks``: rows with a line above them."""
    top = "".join(f"<th>{explained(h)}</th>" for h in head)
    rows = "".join(
        f"<tr{_BREAK if i in breaks else ''}>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
        for i, row in enumerate(body)
    )
    return table_markup(top, rows)


def table_markup(head: str, rows: str) -> str:
    """An HTML table of these heading cells and these rows, which are markup already."""
    return (
        f'<div class="hv hv-scroll"><table class="hv-rows"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
