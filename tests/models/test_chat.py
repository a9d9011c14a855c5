"""Chat templates: the request stands in what is read, the answer is opened, a thought is closed, or one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harmviz.data.encoding import encode_prompt
from harmviz.errors import DataInvalid, ModelUnavailable
from harmviz.generation.batch import generate_batch
from harmviz.models.chat import chat_form, render, stands_in
from harmviz.models.load import load_model, wrap
from tests.worlds.model_files import llama, save
from tests.worlds.tiny import tiny_model, tokenizer

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
PARTS = "{% for m in messages %}<{{ m.role }}>{% for c in m.content %}{{ c['text'] }}{% endfor %}{% endfor %}"
OPENED = "{% if add_generation_prompt %}<assistant>{% endif %}"
CLOSED_THOUGHT = "\n\n</think>\n\n"


def with_template(template: str) -> object:
    tokens = tokenizer.__wrapped__(chat=True)
    tokens.chat_template = template
    return tokens


def rendered(template: str, text: str = "Why?") -> str:
    return render(with_template(template), [{"role": "user", "content": text}])


# -- what goes well ---------------------------------------------------------------------------------------------------
def test_an_ordinary_template_is_used_as_it_is() -> None:
    assert rendered(TURNS + OPENED) == "<user>Why?<assistant>"
    assert chat_form(with_template(TURNS + OPENED)).notes == ()


@pytest.mark.parametrize(
    "template",
    [
        PARTS + OPENED,
        "{% for m in messages %}<{{ m.role }}>{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}"
        "{% endfor %}" + OPENED,
        "{% for m in messages %}<{{ m.role }}>{{ m.content[0].text + '' }}{% endfor %}" + OPENED,  # raises on a text
    ],
)
def test_a_template_that_takes_parts_is_given_parts(template: str) -> None:
    assert rendered(template) == "<user>Why?<assistant>"
    assert chat_form(with_template(template)).notes == ("its chat template takes a message as a list of parts",)


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        (TURNS, "<user>Why?<assistant>"),  # a conversation shows how an answer is opened
        ("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>", "<user>Why?<assistant>"),
        ("{% for m in messages %}[{{ m.content }}]{% endfor %}", "[Why?]["),
        ("{% for m in messages %}{{ m.content }} {% endfor %}", "Why? "),
    ],
)
def test_an_answer_that_is_not_opened_is_opened_as_in_a_conversation(template: str, wanted: str) -> None:
    assert rendered(template) == wanted


@pytest.mark.parametrize(
    ("opening", "wanted"),
    [
        ("<think>\n", "<think>" + CLOSED_THOUGHT),
        ("<think>", "<think>" + CLOSED_THOUGHT),
        ("<thinking>\n\n", "<thinking>\n\n</thinking>\n\n"),
        ("<seed:think>\n", "<seed:think>\n\n</seed:think>\n\n"),
        ("[THINK]", "[THINK]\n\n[/THINK]\n\n"),
        ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),  # closed already
    ],
)
def test_an_opened_thought_is_closed_and_said(opening: str, wanted: str) -> None:
    template = TURNS + "{% if add_generation_prompt %}<assistant>{{ " + json.dumps(opening) + " }}{% endif %}"
    assert rendered(template) == "<user>Why?<assistant>" + wanted
    notes = chat_form(with_template(template)).notes
    assert bool(notes) == (opening != wanted)
    assert all("opens a chain of thought, which is closed, empty, before every answer" in n for n in notes)


def test_the_thought_of_a_request_is_not_closed() -> None:
    assert rendered(TURNS + OPENED, "What does <think>") == "<user>What does <think><assistant>"


def test_answers_of_gpt_oss_begin_in_the_final_channel() -> None:
    template = (
        "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
        "<|message|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
        "{# <|channel|>final<|message|> #}"
    )
    wanted = "<|start|>user<|message|>Why?<|end|><|start|>assistant<|channel|>final<|message|>"
    assert rendered(template) == wanted


def test_a_date_is_fixed_or_said() -> None:
    dated = "{% if not date_string is defined %}{% set date_string = strftime_now('%d') %}{% endif %}{{ date_string }}"
    assert rendered(dated + TURNS + OPENED) == "26 Jul 2024<user>Why?<assistant>"
    (note,) = chat_form(with_template("{{ strftime_now('%Y') }}" + TURNS + OPENED)).notes
    assert "results of another day may differ" in note


def test_white_space_and_trimming_do_not_count() -> None:
    assert (
        rendered("{% for m in messages %}<u>{{ m.content | trim }}{% endfor %}" + OPENED, " a\n b ")
        == "<u>a\n b<assistant>"
    )
    assert stands_in("a  b", "x a\nb y")
    assert not stands_in("a b", "ab")


def test_a_changed_template_is_tried_anew() -> None:
    tokens = with_template(TURNS + OPENED)
    assert not chat_form(tokens).parts
    tokens.chat_template = PARTS + OPENED
    assert chat_form(tokens).parts


def test_notes_reach_the_loaded_model_and_who_listens(tmp_path: Path) -> None:
    lines: list[str] = []
    loaded = load_model(str(llama(tmp_path / "m", PARTS + OPENED)), say=lines.append)
    assert loaded.notes == ("its chat template takes a message as a list of parts",)
    assert lines == ["m: loading", f"m: {loaded.notes[0]}"]
    assert loaded.tokenizer.decode(encode_prompt(loaded.tokenizer, "Why?")).replace(" ", "") == "<user>Why?<assistant>"


# -- what goes wrong --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{{ raise_exception('A system message must come first') }}",
            "TemplateError: A system message must come first",
        ),
        ("{% for m in messages %}{{ m.role", "TemplateSyntaxError: "),
        ("{{ messages[0].role + 1 }}", "TypeError: "),
        ("{{ messages[3].content.x }}", "UndefinedError: "),
        ("{{ ''.__class__.__mro__ }}", "SecurityError: "),
        ("hello", "leaves the request out of what the model reads"),
        ("{% for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}", "leaves the request out"),
        ("{{ messages[0].content[:7] }}", "leaves the request out"),
    ],
)
def test_a_template_that_fails_is_one_line_when_the_model_is_loaded(template: str, said: str, tmp_path: Path) -> None:
    where = llama(tmp_path / "m", template)
    with pytest.raises(ModelUnavailable) as e:
        load_model(str(where))
    assert str(e.value).startswith("model m: the chat template ")
    assert said in str(e.value)
    assert "mend or remove chat_template.jinja" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_request_that_one_prompt_loses_is_named_without_its_text() -> None:
    template = "{% for m in messages %}<u>{{ m.content | replace('secret', '') }}{% endfor %}" + OPENED
    with pytest.raises(ModelUnavailable, match="leaves a prompt out or changes its words") as e:
        rendered(template, "a secret word")
    assert "secret" not in str(e.value)


# -- tokens without an embedding --------------------------------------------------------------------------------------
def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    model = tiny_model().model
    model.resize_token_embeddings(60)
    where = save(tmp_path / "small", model)
    with pytest.raises(
        ModelUnavailable, match=r"model small: its tokenizer gives token ids up to 99, .* for 60 tokens"
    ) as e:
        load_model(str(where))
    assert "(40 tokens without one)" in str(e.value)


def test_a_special_token_may_lack_an_embedding_where_no_text_holds_it() -> None:
    """Gemma 3's text models have no embedding for the mark of an image."""
    model = tiny_model().model
    model.resize_token_embeddings(100)
    tokens = tokenizer.__wrapped__(chat=True)
    tokens.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    loaded = wrap(model, tokens, name="blind")
    assert loaded.notes == ("texts that hold <image_soft_token> cannot be read: it has no embedding for them",)
    assert generate_batch(loaded, [encode_prompt(tokens, "Hi")], 2)
    with pytest.raises(DataInvalid, match="blind has no embedding for"):
        generate_batch(loaded, [encode_prompt(tokens, "Hi <image_soft_token>")], 2)


def test_a_beginning_without_an_embedding_is_refused() -> None:
    model = tiny_model().model
    model.resize_token_embeddings(100)
    tokens = tokenizer.__wrapped__(chat=True)
    tokens.add_special_tokens({"bos_token": "<begin>"})
    with pytest.raises(ModelUnavailable, match="its tokenizer gives token ids up to 100"):
        wrap(model, tokens, name="m")


def test_a_template_kept_in_a_file_of_its_own_is_read(tmp_path: Path) -> None:
    """As older multimodal models keep it."""
    where = save(tmp_path / "m", tiny_model().model, tokenizer(chat=False))
    assert not load_model(str(where)).tokenizer.chat_template
    (where / "chat_template.json").write_text(json.dumps({"chat_template": TURNS + OPENED}))
    assert load_model(str(where)).tokenizer.chat_template == TURNS + OPENED
