"""Which settings start, which are refused, and what is printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harmviz.access import Policy
from harmviz.access.exposure import Binding, check, is_loopback
from harmviz.errors import BadSetting

HERE = Binding("127.0.0.1", ("127.0.0.1", "localhost"))
TOKEN = Policy(token="0123456789abcdef", exposed=True)


@pytest.mark.parametrize("name", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST.", "::1", "[::1]", "unix:///run/x"])
def test_loopback(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize(
    "name", [None, "", "0.0.0.0", "::", "192.168.1.2", "example.org", "*", "localhost.evil.example", "127.0.0.1.nip.io"]
)
def test_no_loopback(name: str | None) -> None:
    assert not is_loopback(name)


def test_this_machine_alone_needs_nothing() -> None:
    assert check(HERE, Policy(), {}) == []


@pytest.mark.parametrize("address", ["0.0.0.0", None, "::", "192.168.1.2"])
def test_a_wider_address_needs_a_login_or_the_switch(address: str | None) -> None:
    wide = replace(HERE, address=address)
    with pytest.raises(BadSetting, match=r"without a login; keep server\.address=127\.0\.0\.1, .*HARMVIZ_EXPOSE=1"):
        check(wide, Policy(exposed=True), {})
    with pytest.raises(BadSetting, match="neither yes nor no"):
        check(wide, Policy(exposed=True), {"HARMVIZ_EXPOSE": "please"})
    assert check(wide, Policy(login=True, exposed=True), {}) == []
    said = "\n".join(check(wide, Policy(exposed=True), {"HARMVIZ_EXPOSE": "1"}))
    assert "WITHOUT A LOGIN" in said
    assert "may use the live model" in said
    assert "Nobody may start, cancel, import, export or delete" in said
    assert "every visitor will be refused" in said


def test_a_proxy_in_front_is_no_way_around_it() -> None:
    with pytest.raises(BadSetting, match=r"answering to lab\.example\.org would open"):
        check(replace(HERE, hosts=("localhost", "lab.example.org")), Policy(exposed=True), {})


def test_a_token_in_the_clear_is_named() -> None:
    wide = replace(HERE, address="0.0.0.0", hosts=("lab.example.org",))
    assert any("no TLS" in line for line in check(wide, TOKEN, {"HARMVIZ_EXPOSE": "1"}))
    assert not any("no TLS" in line for line in check(replace(wide, tls=True), TOKEN, {"HARMVIZ_EXPOSE": "1"}))


@pytest.mark.parametrize(
    "change",
    [{"cors": False}, {"xsrf": False}, {"agent": True}, {"hosts": ("*",)}, {"origins": ("*",)}],
    ids=lambda c: next(iter(c)),
)
def test_what_nothing_switches_off(change: dict[str, object]) -> None:
    with pytest.raises(BadSetting, match=r"must stay|take names"):
        check(replace(HERE, **change), Policy(login=True), {"HARMVIZ_EXPOSE": "1"})  # type: ignore[arg-type]
