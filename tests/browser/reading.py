"""What a page asks of its reader: how many words stand before its details, and what bars a reader from it."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe

#: Words of ours that a page may show at first sight.
MOST_WORDS = 350
_WORDS = """() => {
  const main = document.querySelector('[data-testid=stMain]'), walker = document.createTreeWalker(main, 4);
  const seen = {visibilityProperty: true, opacityProperty: true};
  let n = 0;
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, range = document.createRange();
    if (e.closest('svg, style, script, .hv-pane .answer') || !e.checkVisibility(seen)) continue;
    range.selectNodeContents(walker.currentNode);
    const box = range.getBoundingClientRect();
    if (box.width > 1 && box.height > 1) n += (walker.currentNode.data.match(/[\\p{L}\\p{N}]+\\S*/gu) || []).length;
  }
  return n;
}"""


def words(page: Any) -> int:
    """Visible words of the page's main part, apart from charts and from what a model answered."""
    return int(page.evaluate(_WORDS))


def barriers(page: Any) -> list[str]:
    """What axe-core calls serious or critical, Streamlit's own menu apart, one line a rule."""
    found = Axe().run(page, context={"exclude": [["[data-testid=stSidebarNav]"]]}).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {rule['nodes'][0]['target']}, {len(rule['nodes'])} in all"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
