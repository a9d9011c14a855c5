"""Start a run: model, data and options; what it will need here; the command that does the same."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from harmviz import preflight
from harmviz.claims.mapping.extent import PROMPT_TOKENS, RESPONSE_TOKENS, SAMPLES
from harmviz.claims.mapping.page import data_form
from harmviz.claims.mapping.settings import DEFAULT_Q_MAX, RunSpec
from harmviz.errors import HarmvizError
from harmviz.jobs import Upload
from harmviz.models.assets import EMBEDDED
from harmviz.paths import model_roots
from harmviz.preflight import ModelEstimate
from harmviz.ui import actions, frame, jobs_panel
from harmviz.ui.model_bar import shown_name
from harmviz.ui.preflight_table import preflight_table

_SOURCES = {"embedded": "Built in", "local": "On this disk", "hub": "Hugging Face"}
_Q_MAX = (None, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 5e-2)
_DEFAULTS = RunSpec()


@dataclass(frozen=True)
class Model:
    """What was chosen, and where: no hub id may open a folder, no folder outside the roots may be opened."""

    source: str
    name: str

    def estimate(self) -> ModelEstimate:
        """Its sizes; of one on the hub as looked up, where the reader asked for that.

        Raises:
            HarmvizError: it may not be opened, or cannot be read.
        """
        if self.source == "local":
            return preflight.model_estimate(str(preflight.check_local(self.name)))
        if self.source == "hub":
            looked_up: dict[str, ModelEstimate] = st.session_state.get("runs_looked_up", {})
            return looked_up.get(self.name) or preflight.hub_estimate(self.name)
        return preflight.model_estimate(self.name)


@dataclass(frozen=True)
class Options:
    """The settings of the form as the command line takes them; ``q_max`` None leaves the choice to the model's size."""

    spec: RunSpec
    q_max: float | None
    dtype: str
    device: str


def draw() -> None:
    """The whole form."""
    left, right = st.columns([1, 1.15], gap="large")
    with left:
        model = _model()
        data, upload = data_form.choose()
        options = _options()
    with right:
        _summary(model, data, upload, options)


# -- choices -----------------------------------------------------------------------------------------------------------
def _model() -> Model | None:
    """The chosen model, or None until there is one."""
    source = st.segmented_control(
        "Model",
        list(_SOURCES),
        format_func=_SOURCES.__getitem__,
        default="embedded",
        required=True,
        key="runs_source",
        wrap=True,
    )
    if source == "local":
        local = _local_model()
        return Model("local", local) if local else None
    if source == "hub":
        name = st.text_input(
            "Hub id", placeholder="org/name or org/name@revision", key="runs_hub_id", max_chars=200
        ).strip()
        return Model("hub", name) if name else None
    names = [EMBEDDED, *preflight.tuned_models()]
    chosen = st.selectbox(
        "Built-in model",
        names,
        format_func=shown_name,
        key="runs_embedded",
        help="The aligned one declines harmful requests: the same model after a short safety tuning, made on first "
        "use. "
        "Checkpoints of your own ladders stand below it.",
    )
    st.caption("135 million parameters: a run takes about an hour on a laptop.")
    return Model("embedded", chosen)


def _local_model() -> str | None:
    models = preflight.local_models()
    roots = [str(r) for r in model_roots()]
    if not models:
        frame.html(
            '<div class="hv hv-note"><div class="quiet small">No model was found. Put a folder with config.json and '
            ".safetensors files, or a .gguf file, into</div></div>"
        )
        st.code("\n".join(roots), language=None)
        st.caption("or name other folders in HARMVIZ_MODEL_ROOTS. The command line takes any path.")
        return None
    names = {str(p): _below(p) for p in models}
    return st.selectbox(
        "Model folder",
        list(names),
        format_func=names.__getitem__,
        key="runs_local",
        help=f"Below {' and '.join(roots)}",
    )


def _below(path: Path) -> str:
    """The path below its root, which is what tells models apart."""
    for root in model_roots():
        if path.is_relative_to(root.resolve()):
            return str(path.relative_to(root.resolve())) if path != root.resolve() else path.name
    return str(path)


def _options() -> Options:
    quick = st.toggle(
        "Quick first look",
        key="runs_quick",
        help="10 to 45 minutes for a small model, by how many answers: fewer prompts, grid points and draws, the same "
        "controls. Its intervals are wide, and it is marked as quick everywhere.",
    )
    # A control of its own for each: what was chosen for one is no choice for the other.
    kind = "_quick" if quick else ""
    samples = st.number_input(
        "Samples per harm type",
        4,
        1000,
        SAMPLES[quick],
        4,
        key=f"runs_samples{kind}",
        help="Responses scored per category at most, half in each scoring half.",
    )
    with st.expander("More options"):
        one, two = st.columns(2)
        with one:
            tokens = st.number_input(
                "Max response tokens",
                16,
                4096,
                RESPONSE_TOKENS[quick],
                16,
                key=f"runs_tokens{kind}",
                help="Where responses are cut.",
            )
            prompt_tokens = st.number_input(
                "Max prompt tokens",
                8,
                100_000,
                PROMPT_TOKENS,
                64,
                key="runs_prompt_tokens",
                help="Rows with a longer prompt are left out, and counted.",
            )
            dtype = st.selectbox("Precision", ("auto", "float32", "bfloat16"), key="runs_dtype")
            q_max = st.selectbox(
                "Largest mask (q max)",
                _Q_MAX,
                key="runs_q_max",
                format_func=lambda q: "by model size" if q is None else f"{q:g}",
                help="Largest fraction of the scored weights that can be selected from this run later.",
            )
        with two:
            seed = st.number_input(
                "Seed", 0, 2**31 - 1, _DEFAULTS.seed, key="runs_seed", help="Of splits, choices, draws and intervals."
            )
            device = st.selectbox("Device", ("auto", "cpu", "cuda"), key="runs_device")
            skip = st.selectbox(
                "Skip first tokens", (0, 8), key="runs_skip", help="Response openers left out of the scoring loss."
            )
    spec = RunSpec(
        samples=int(samples),
        seed=int(seed),
        q_max=q_max or DEFAULT_Q_MAX,
        skip_tokens=int(skip),
        max_response_tokens=int(tokens),
        max_prompt_tokens=int(prompt_tokens),
        quick=quick,
    )
    return Options(spec, q_max, dtype, device)


# -- what follows from them --------------------------------------------------------------------------------------------
def arguments(model: str, data: str | None, options: Options) -> tuple[str, ...]:
    """The command line of these settings, without what is the default.

    ``--x=value``: no value can pass for an option.
    """
    spec = options.spec
    given = {
        "model": (model, EMBEDDED),
        "data": (data, "pyrit"),
        "samples": (spec.samples, SAMPLES[spec.quick]),
        "seed": (spec.seed, _DEFAULTS.seed),
        "max-response-tokens": (spec.max_response_tokens, RESPONSE_TOKENS[spec.quick]),
        "max-prompt-tokens": (spec.max_prompt_tokens, PROMPT_TOKENS),
        "skip-tokens": (spec.skip_tokens, 0),
        "q-max": (options.q_max, None),
        "dtype": (options.dtype, "auto"),
        "device": (options.device, "auto"),
    }
    quick = ("--quick",) if spec.quick else ()
    return (
        "run",
        *quick,
        *(f"--{name}={value}" for name, (value, default) in given.items() if value not in (default, None)),
    )


def _summary(model: Model | None, data: str | None, upload: Upload | None, options: Options) -> None:
    frame.html('<div class="hv"><b>Before it starts</b></div>')
    ready = False
    if model is None or data is None:
        frame.html(
            f'<div class="hv quiet">Choose a {"model" if model is None else "prompt file"} to see what the run will '
            "need.</div>"
        )
    else:
        try:
            ready = _checked_needs(model, data, upload, options)
        except HarmvizError as e:
            frame.error(str(e))
    busy = jobs_panel.busy()
    pressed = st.button(
        "Start the run",
        type="primary",
        icon=":material/play_arrow:",
        key="runs_start",
        disabled=not ready or busy,
    )
    if model is None or data is None:
        return
    words = arguments(model.name, data if upload is None else None, options)
    shown = words if upload is None else (*words, f"--data={upload.name}", *upload.options.as_arguments)
    st.caption("The same from the command line:")
    st.code(shlex.join(["python", "-m", "harmviz", *shown]), language=None, wrap_lines=True)
    if pressed and ready:
        with frame.shown_errors():
            actions.start(words, upload)
            st.rerun()


def _checked_needs(model: Model, data: str, upload: Upload | None, options: Options) -> bool:
    """Shows what the run needs here; whether it may be started."""
    sizes = model.estimate()
    if model.source == "hub" and sizes.n_parameters is None:
        _offer_look_up(model.name)
    plan = data_form.plan(data, upload, options.spec)
    estimate = preflight.run_estimate(sizes, plan, q_max=options.q_max, dtype=options.dtype, device=options.device)
    frame.html(preflight_table(sizes, plan, estimate))
    for why in estimate.blocking:
        frame.error(f"It cannot start: {why}")
    return not estimate.blocking


def _offer_look_up(model: str) -> None:
    if st.button(
        "Look up its size", key="runs_look_up", help="Asks huggingface.co, which thereby learns the model's name."
    ):
        with frame.shown_errors(), st.spinner("Asking huggingface.co"):
            st.session_state["runs_looked_up"] = {model: preflight.look_up(model)}
            st.rerun()
