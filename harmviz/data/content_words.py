"""The words that say what a request is about, and when two requests are about the same. No model, no judge."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Requests are *near* where they share at least this much of their content words (Jaccard).
NEAR = 0.6
#: Function words, and the words that AdvBench opens all its requests with.
_STOP = frozenset(
    re.findall(
        r"\w+",
        """
        a an the and or of to in on for with without that which how do does can could i you me my your someone somebody
        is are be by from into it its this as at their them others write create develop provide give make tutorial guide
        step steps instructions detailed plan script program using use instruct outline design explain
        """,
    )
)
#: What else says nothing of a subject, among words of four letters and more.
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        """
        about after again also although always another anyone anything because been before being best
        between both cannot come could does doing done down each either else even ever every everybody
        everyone everything find from getting give goes good have having help here hers however into just
        keep know less like list long look made many maybe mine more most much must need never nobody none
        nothing often once only other others over people please possible really right same should show since
        some something soon still such sure take tell text than thank that them then there these they thing
        things think this those though through time together too under until upon very want ways well went
        were what whatever when where whether which while will with within work would write year your yours
        """,
    )
)
#: Words whose first so many letters are alike, a plural's *s* aside, count as one word in ``takes_up``: *locks* and
#: *lock*, *shoplift* and *shoplifting*.
_STEM = 5
_FEWEST_LETTERS = 4


def content_words(text: str) -> frozenset[str]:
    """The words that say what a request is about: no stop words, no words that AdvBench opens all its requests with."""
    return frozenset(w for w in re.findall(r"[a-z]+", text.lower()) if w not in _STOP)


def near_any(text: str, others: Iterable[frozenset[str]]) -> bool:
    """Whether the Jaccard overlap of content words with one of ``others`` reaches ``NEAR``."""
    words = content_words(text)
    return any(words and len(words & other) >= NEAR * len(words | other) for other in others)


def takes_up(request: str, answer: str) -> bool:
    """Whether the answer holds a word that says what the request is about, endings aside. A request without such a word
    is always taken up: nothing could be missed."""
    asked, said = (
        {word.removesuffix("s")[:_STEM] for word in content_words(text) - _EMPTY if len(word) >= _FEWEST_LETTERS}
        for text in (request, answer)
    )
    return not asked or bool(asked & said)
