"""``generate``: one prompt, answered by the intact model and by each masked variant, decoded together in step.

``--answer-begins`` puts the same opening words into every variant's mouth: they are read, not written, and stand before
what each goes on with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harmviz.commands.output import print_json, say
from harmviz.errors import BadSetting, DataInvalid
from harmviz.masks.mask import PruneMask
from harmviz.models.assets import EMBEDDED


def run(arguments: argparse.Namespace) -> None:
    if not arguments.prompt.strip():
        raise DataInvalid("--prompt is empty; give some text")
    if arguments.max_new_tokens < 1:
        raise BadSetting(f"max_new_tokens must be at least 1, got {arguments.max_new_tokens}")
    masks = [(Path(f).stem, PruneMask.load(f)) for f in arguments.mask]
    from harmviz.data.encoding import encode_prompt
    from harmviz.generation.decode import generate
    from harmviz.generation.sampling import check_sampling
    from harmviz.generation.variants import Variant
    from harmviz.masks.apply import check_strength
    from harmviz.models.load import load_model

    check_strength(arguments.strength)
    check_sampling(arguments.temperature, 1.0)
    loaded = load_model(arguments.model or EMBEDDED, dtype=arguments.dtype, device=arguments.device, say=say)
    variants = [Variant("intact"), *(Variant(name, mask, arguments.strength) for name, mask in masks)]
    opening = arguments.answer_begins
    answers = generate(
        loaded,
        encode_prompt(loaded.tokenizer, arguments.prompt),
        variants,
        max_new_tokens=arguments.max_new_tokens,
        prefill_ids=loaded.tokenizer.encode(opening, add_special_tokens=False) if opening else (),
        temperature=arguments.temperature,
        seed=arguments.seed,
    )
    if arguments.json:
        print_json(
            {
                "prompt": arguments.prompt,
                "answer_begins": opening,
                "variants": [
                    {
                        "name": a.name,
                        "mask_digest": a.mask_digest,
                        "strength": a.strength,
                        "text": a.text,
                        "token_ids": list(a.token_ids),
                        "tokens_per_s": a.tokens_per_s,
                        "finished": a.finished,
                    }
                    for a in answers
                ],
            }
        )
        return
    for answer in answers:
        changed = "" if answer.mask_digest is None else f", strength {answer.strength:g}"
        pace = f"{len(answer.token_ids)} tokens, {answer.tokens_per_s:.1f}/s, {answer.finished}"
        print(f"== {answer.name}{changed} ({pace})")
        print(f"{opening}{answer.text}\n")
