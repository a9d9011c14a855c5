"""Before a run is started: what it will need, and whether this machine has it. Reads headers only; loads no model.

- ``tensors``: names and shapes in safetensors and GGUF files, from their headers;
- ``models``: where a model is, how large it is, and which local ones pages may open;
- ``plan``: which samples a run would use;
- ``machine``: memory, GPU and disk that are free now;
- ``estimate``: memory, disk and time of a run, each with a verdict.

No torch, no streamlit, and nothing leaves this machine unless ``look_up`` is called.
"""

from harmviz.preflight.estimate import Need, RunEstimate, memory_needs, run_estimate
from harmviz.preflight.models import (
    ModelEstimate,
    check_hub_id,
    check_local,
    hub_estimate,
    local_models,
    look_up,
    model_estimate,
    tuned_models,
)
from harmviz.preflight.plan import DataPlan, plan_data, plan_source

__all__ = [
    "DataPlan",
    "ModelEstimate",
    "Need",
    "RunEstimate",
    "check_hub_id",
    "check_local",
    "hub_estimate",
    "local_models",
    "look_up",
    "memory_needs",
    "model_estimate",
    "plan_data",
    "plan_source",
    "run_estimate",
    "tuned_models",
]
