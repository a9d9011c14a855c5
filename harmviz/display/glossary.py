"""The field's terms in one sentence each, and text in which they explain themselves on hover or focus."""

from __future__ import annotations

import re
from html import escape

TERMS: dict[str, str] = {
    "harm-generation weights": "The few weights whose removal makes harmful text much less likely while other text "
    "stays as it was.",
    "harm score": "First-order rise of the loss of harmful answers if this weight were set to zero. Positive: the "
    "weight supports them.",
    "utility score": "How much a weight matters to harmless answers: |weight × gradient|, taken answer by answer "
    "and averaged.",
    "scored weights": "Every linear weight inside the decoder blocks. Embeddings, norms and the output head are not "
    "scored.",
    "ΔL": "Change of the loss, pruned minus intact, in nats per token of the answer. Positive: the text became less "
    "likely.",
    "nats": "Unit of the loss with the natural logarithm. +0.69 nats per token means each token is half as likely.",
    "loss": "Mean negative log-likelihood of an answer's tokens: how surprised the model is by that text.",
    "q": "Fraction of all scored weights that is zeroed.",
    "p": "Fraction of all scored weights that is protected because harmless text needs it most.",
    "protected": "The top fraction p by utility score is never zeroed, because harmless text needs it most.",
    "control": "A mask of the same size chosen without looking at harm. What it does as well is no finding about harm.",
    "random control": "As many weights per matrix as the mask has, drawn at random from those that may be zeroed.",
    "random mask": "As many weights per matrix as the mask has, drawn at random from those that may be zeroed.",
    "interval": "95 % bootstrap interval over prompts, for this mask: it would move if other prompts had been drawn.",
    "n": "How many prompts a number rests on.",
    "same-topic safe": "Answers to the same kind of request that inform without helping harm. Harm minus safe is "
    "the harm-specific part.",
    "harm-specific": "The rise on harmful answers minus the rise on same-topic answers that do no harm.",
    "contrastive": "Weights ranked by harm score minus what they do for safe or harmless answers, so that general "
    "ones drop out.",
    "guarded": "Weights ranked by harm score minus what would make the model decline more harmless requests if they "
    "were zeroed; how it is weighed, the page of the run's results says.",
    "twin-contrastive": "Weights ranked by harm score for one author's answers to harmful requests minus twice what "
    "answering like-worded harmless ones hangs on.",
    "plain": "Weights ranked by harm score alone, as in the paper.",
    "as in the paper": "Weights ranked by harm score alone, among those not protected.",
    "Jaccard": "Weights in both masks divided by weights in either: 0 nothing shared, 1 the same mask.",
    "chance": "What two masks of this size would share if their weights were shuffled within each matrix.",
    "split-half": "The same set scored on two halves of its prompts: how much a mask shares with itself under other "
    "prompts.",
    "ceiling": "The split-half overlap of a set with itself. No two different sets can be expected to share more.",
    "core": "Weights that belong to the masks of several harm types at once.",
    "transfer": "The mask of one harm type, measured on another. Off the diagonal: effects beyond the type that was "
    "pruned.",
    "mask": "The list of weights that are set to zero.",
    "pruned": "With the mask's weights set to zero. Nothing is retrained, and every weight can be put back bit for "
    "bit.",
    "pruning": "Setting chosen weights to zero. Nothing is retrained, and every weight can be put back bit for bit.",
    "strength": "How far the mask's weights are turned down: 0 intact, 1 set to zero. It never amplifies.",
    "surprise": "−log probability of a token under the intact model: dark where the intact model would not have "
    "written it.",
    "perplexity": "exp of the mean surprise of a text under the intact model. A model's own perplexity would "
    "flatter repetition.",
    "repetition": "Share of 3-grams that occurred before in the same text. High in broken models, whose text is no "
    "safety.",
    "collapsed": "So damaged that text of every kind suffers. Gibberish is not safety.",
    "refusal": "The answer declines. Counted by keywords here, which miss half of all refusals or more: a lower bound.",
    "turned away": "The answer declines, in quotation marks too, or is about something else: none of its words says "
    "what was asked about.",
    "greedy": "The most likely token at every step; no chance involved.",
    "held-out": "Prompts that neither chose the weights nor the settings.",
    "scoring prompts": "Prompts whose answers the harm scores come from. Nothing is reported on them.",
    "validation prompts": "Prompts that chose q and p. What they show was chosen to look good; report prompts tell.",
    "report prompts": "Prompts that had no part in scoring, protecting or choosing. What is reported is measured on "
    "them.",
    "intact": "The model as it is, with nothing set to zero.",
    "eligible": "Not protected, so that it may be set to zero.",
    "magnitude-matched": "A control: weights of like size |W|, as many per matrix as the mask has, drawn outside it.",
    "utility-matched": "A control: weights of like utility score, as many per matrix as the mask has, drawn outside "
    "it.",
    "benign-signed": "A control: the same rule run on harmless answers by others. Shows what zeroing weights of any "
    "such text does.",
    "safe-signed": "A control: the same rule run on same-topic safe answers. Shows what zeroing weights of these "
    "topics does.",
    "unprotected": "A control: the same rule without protection (p = 0). Shows why protection matters.",
    "harm type": "A kind of harm that prompts are sorted by, such as privacy or violence. Each has scores and a "
    "mask of its own.",
    "run": "One model scored and measured on one data set, stored in a folder with all its numbers.",
    "density": "Selected weights per million of the matrix: comparable between matrices of different size.",
}


def _spellings(word: str) -> set[str]:
    """As a term stands in a sentence: at its beginning, and more than one. Single letters are taken as they are."""
    return {w + end for w in (word, word[:1].upper() + word[1:]) for end in ("", "s")} if len(word) > 2 else {word}


_SPELLINGS = {form: word for word in TERMS for form in _spellings(word)}
_WORDS = sorted(_SPELLINGS, key=len, reverse=True)
_PATTERN = re.compile(r"(?<![\w-])(" + "|".join(re.escape(w) for w in _WORDS) + r")(?![\w-])")


def explained(text: str) -> str:
    """``text`` as HTML, escaped, with the first mention of every known term explaining itself on hover and focus."""
    seen: set[str] = set()

    def mark(match: re.Match[str]) -> str:
        shown = match.group(1)
        word = _SPELLINGS[shown]
        if word in seen:
            return escape(shown)
        seen.add(word)
        return term(word, shown)

    # Split before escaping, so that a term is never looked for inside an entity.
    parts, last = [], 0
    for match in _PATTERN.finditer(text):
        parts += [escape(text[last : match.start()]), mark(match)]
        last = match.end()
    return "".join([*parts, escape(text[last:])])


def term(word: str, shown: str | None = None) -> str:
    """One term as HTML that explains itself.

    Raises:
        KeyError: the glossary has no such term.
    """
    tip = escape(TERMS[word], quote=True)
    return f'<span class="hv-term" tabindex="0" data-tip="{tip}">{escape(shown or word)}</span>'


def table() -> str:
    """All terms and their meaning as an HTML list, in alphabetical order."""
    lines = "".join(
        f"<div><dt>{escape(w)}</dt><dd>{escape(TERMS[w])}</dd></div>" for w in sorted(TERMS, key=str.casefold)
    )
    return f'<dl class="hv hv-glossary">{lines}</dl>'
