"""What a model reads with beside its weights: tokenizer, chat template, config. Hashes that say whether it is the same.

A run's identity covers them: the same weights with another chat template are given other texts, and answer otherwise.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from harmviz.files import canonical_json
from harmviz.models.chat import PROBE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Encoded with and without special tokens: what a tokenizer's files leave to its class (a first token, a blank) shows.
_PROBES = (PROBE, " Two  blanks,\n\na tab\t and 2,026 numbers", "naïve – 雪 🙂 ")
_SPECIALS = ("bos", "eos", "unk", "pad", "sep", "cls", "mask")
#: Of a config: where it came from and what wrote it, not what it means.
_ORIGIN = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "use_cache")


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 over everything that turns a text into token ids: vocabulary, rules, special tokens, chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        rules.pop("truncation", None), rules.pop("padding", None)  # what a caller set last, no property of the model
    else:
        rules = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    specials = {name: getattr(tokenizer, f"{name}_token_id", None) for name in _SPECIALS}
    encoded = [
        [int(i) for i in tokenizer.encode(text, add_special_tokens=added)]
        for text in _PROBES
        for added in (True, False)
    ]
    return _sha256({"rules": rules, "specials": specials, "encoded": encoded, "template": tokenizer.chat_template})


def config_hash(model: PreTrainedModel) -> str:
    """sha256 over what the model's config says beyond its family's defaults, and the tokens that end an answer."""
    settings = _plain(model.config.to_diff_dict())
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return _sha256({"family": model.config.model_type, "config": settings, "ends": ends})


def _plain(value: Any) -> Any:
    """A config's value as JSON, without what tells its origin; objects by their names."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if k not in _ORIGIN}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return repr(value)  # infinity too, which JSON has not
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode(errors="surrogatepass")).hexdigest()
