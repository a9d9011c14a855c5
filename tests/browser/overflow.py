"""What of a page does not fit its window: measured in the browser, on what is drawn."""

from __future__ import annotations

from typing import Any

#: Pixels by which a box may stand out: fractions of a pixel, and the room around letters.
_SLACK = 2
_MEASURE = """slack => {
  const wrong = [], main = document.querySelector('[data-testid=stMain]');
  const visible = e => e.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const stands_out = (box, frame) => box.left < frame.left - slack || box.top < frame.top - slack
    || box.right > frame.right + slack || box.bottom > frame.bottom + slack;
  const screen = {left: 0, top: 0, right: innerWidth, bottom: innerHeight};

  if (document.documentElement.scrollWidth > innerWidth) wrong.push('the page is wider than the window');
  if (main.scrollHeight > main.clientHeight + slack)
    wrong.push(`the page scrolls: ${main.scrollHeight} pixels in ${main.clientHeight}`);

  const walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement, words = node.data.trim().slice(0, 60);
    if (!words || parent.closest('svg, style, script') || !visible(parent)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (stands_out(box, screen)) wrong.push('outside the window: ' + words);
    for (let e = parent; e !== main; e = e.parentElement) {
      const how = getComputedStyle(e);
      if (how.overflowX === 'visible' && how.overflowY === 'visible') continue;
      if (stands_out(box, e.getBoundingClientRect())) {
        wrong.push('cut off: ' + words);
        break;
      }
    }
  }

  for (const plot of document.querySelectorAll('.js-plotly-plot')) {
    const frame = plot.getBoundingClientRect(), texts = [];
    if (stands_out(frame, screen)) wrong.push('a chart is not whole');
    for (const text of plot.querySelectorAll('.main-svg text')) {
      const box = text.getBoundingClientRect(), words = text.textContent.trim().slice(0, 40);
      if (!words || !box.width || !visible(text)) continue;
      if (stands_out(box, frame)) wrong.push('outside its chart: ' + words);
      // The box around a slanted label is larger than the label.
      if (!/rotate\\((?!0[,)])/.test(text.getAttribute('transform') || '')) texts.push([words, box]);
    }
    texts.forEach(([name, a], i) => texts.slice(i + 1).forEach(([other, b]) => {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 3 * slack && down > 3 * slack) wrong.push(`on one another: ${name} | ${other}`);
    }));
  }
  return wrong;
}"""


def overflow(page: Any) -> list[str]:
    """What does not fit: text outside the window, cut off or over other text, a chart that is not whole, scrolling."""
    return list(page.evaluate(_MEASURE, _SLACK))
