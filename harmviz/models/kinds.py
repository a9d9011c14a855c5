"""What kind of model a config describes, and which class of transformers opens it; what is no causal language model is
refused in one line before its weights are read.

A multimodal model (Qwen2-VL, LLaVA, Gemma 3 …) is opened as a whole and given text only: its language layers are what
is scored (``harmviz.models.scored``), and what reads images or sounds is neither used nor scored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from harmviz.errors import UnsupportedArchitecture

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

#: Heads that are no language models, by the name of a checkpoint's class.
_OTHER_HEAD = re.compile(
    r"For\w*(?:MaskedLM|Classification|QuestionAnswering|MultipleChoice|PreTraining|NextSentence\w*|Embedding|Detection"
    r"|Segmentation|Retrieval|Regression|BlockDiffusion)$"
)
_WANTED = "harmviz needs a causal language model, which writes one token after another"


def loader_of(config: PreTrainedConfig, name: str) -> Any:
    """The auto class of transformers whose ``from_pretrained`` opens a model of this config.

    Raises:
        UnsupportedArchitecture: it is an encoder, a sequence-to-sequence model, a classifier, or reads no text.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
        MODEL_FOR_MULTIMODAL_LM_MAPPING,
    )

    saved_as = str((getattr(config, "architectures", None) or [type(config).__name__])[0])
    if other := _OTHER_HEAD.search(saved_as):
        raise _refused(name, f"{saved_as}, with a head for {other.group().removeprefix('For')}")
    if config.is_encoder_decoder or config.get_text_config().is_encoder_decoder:
        raise _refused(name, f"{saved_as}, a sequence-to-sequence model of encoder and decoder")
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        # Encoders have a decoder's head too; which of both a checkpoint is, its config says.
        if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
            raise _refused(name, f"{saved_as}, an encoder that sees a text from both sides")
        return AutoModelForCausalLM
    if type(config) in MODEL_FOR_MULTIMODAL_LM_MAPPING:
        return AutoModelForMultimodalLM
    raise _refused(name, f"{saved_as} ({config.model_type})")


def _refused(name: str, what: str) -> UnsupportedArchitecture:
    return UnsupportedArchitecture(f"model {name!r} is not a causal language model but a {what}; {_WANTED}")
