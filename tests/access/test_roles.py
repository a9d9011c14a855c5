"""Who is the owner: worked by hand for every way to set up a deployment."""

from __future__ import annotations

import pytest

from harmviz.access import ACTIONS, OWNER, VISITOR, Policy, may, role_of
from harmviz.access.roles import policy_of, require
from harmviz.errors import BadSetting, NotAllowed

TOKEN = "a-token-of-32-characters-or-more"
ANN = {"is_logged_in": True, "email": "Ann@example.org", "email_verified": True}


@pytest.mark.parametrize(
    ("policy", "token", "user", "role"),
    [
        (Policy(), "", None, OWNER),
        (Policy(exposed=True), "", None, VISITOR),
        (Policy(readonly=True), "", None, VISITOR),
        (Policy(token=TOKEN), "", None, VISITOR),
        (Policy(token=TOKEN), TOKEN[:-1], None, VISITOR),
        (Policy(token=TOKEN), TOKEN + "x", None, VISITOR),
        (Policy(token=TOKEN), TOKEN, None, OWNER),
        (Policy(token=TOKEN, exposed=True), TOKEN, None, OWNER),
        (Policy(token=TOKEN, readonly=True), TOKEN, None, VISITOR),
        (Policy(login=True), "", None, VISITOR),
        (Policy(login=True), "", ANN, VISITOR),
        (Policy(login=True, owners=frozenset({"ann@example.org"})), "", ANN, OWNER),
        (Policy(login=True, owners=frozenset({"bob@example.org"})), "", ANN, VISITOR),
        (Policy(login=True, owners=frozenset({"ann@example.org"}), readonly=True), "", ANN, VISITOR),
        (Policy(login=True, owners=frozenset({"ann@example.org"})), "", {**ANN, "email_verified": False}, VISITOR),
        (Policy(login=True, owners=frozenset({"ann@example.org"})), "", {**ANN, "email_verified": "true"}, VISITOR),
        (Policy(login=True, owners=frozenset({"ann@example.org"})), "", {**ANN, "is_logged_in": False}, VISITOR),
        (Policy(login=True, owners=frozenset({"ann@example.org"})), "", {"email": "ann@example.org"}, VISITOR),
        (Policy(owners=frozenset({"ann@example.org"}), exposed=True), "", ANN, VISITOR),
        (Policy(exposed=True), "\u2603", None, VISITOR),
    ],
)
def test_the_role(policy: Policy, token: str, user: dict[str, object] | None, role: str) -> None:
    assert role_of(policy, token=token, user=user) == role


def test_an_empty_token_opens_nothing() -> None:
    assert role_of(Policy(exposed=True, token=""), token="") == VISITOR


@pytest.mark.parametrize("action", ACTIONS)
def test_the_owner_may_and_the_visitor_may_not(action: str) -> None:
    require(OWNER, action)  # type: ignore[arg-type]
    assert not may(VISITOR, action)  # type: ignore[arg-type]
    with pytest.raises(NotAllowed, match="only the owner of this dashboard may"):
        require(VISITOR, action)  # type: ignore[arg-type]


def test_an_unknown_action_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="'paint' is none of start, cancel"):
        may(OWNER, "paint")  # type: ignore[arg-type]


def test_the_environment_sets_the_policy() -> None:
    given = {
        "HARMVIZ_READONLY": "Yes",
        "HARMVIZ_ADMIN_TOKEN": f" {TOKEN}\n",
        "HARMVIZ_OWNERS": "Ann@example.org, ,b@c.d",
    }
    policy = policy_of(given, login=True, exposed=True)
    assert policy == Policy(True, TOKEN, True, frozenset({"ann@example.org", "b@c.d"}), True)
    assert TOKEN not in repr(policy)
    assert policy_of({}, login=False, exposed=False) == Policy()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"HARMVIZ_READONLY": "maybe"}, "neither yes nor no"),
        ({"HARMVIZ_ADMIN_TOKEN": "short"}, "has 5 characters and could be guessed"),
        ({"HARMVIZ_OWNERS": "a@b.c"}, "no login is set up"),
    ],
)
def test_a_setting_that_protects_is_never_off_by_a_slip(given: dict[str, str], says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        policy_of(given, login=False, exposed=False)
