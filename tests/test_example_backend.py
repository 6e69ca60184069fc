from __future__ import annotations

import gzip
import hashlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from example_app.backend import create_app
from example_app.backend.seed import DEMO_PASSWORD, IMAGE_KEYS

ROOT = Path(__file__).parent.parent
FAST = {"PASSWORD_METHOD": "pbkdf2:sha256:1"}
AT_ONCE = 1e-6  # a life in seconds that is over before the next request

Open = Callable[..., FlaskClient]


@pytest.fixture
def open_shop(tmp_path: Path) -> Open:
    def open_with(**settings: object) -> FlaskClient:
        return create_app(FAST | {"DATABASE": tmp_path / "shop.sqlite3"} | settings).test_client()

    return open_with


@pytest.fixture
def shop(open_shop: Open) -> FlaskClient:
    return open_shop()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_in(shop: FlaskClient, email: str = "ada@example.com", **headers: str) -> dict[str, Any]:
    body = {"email": email, "password": DEMO_PASSWORD}
    answer: dict[str, Any] = data(shop.post("/v1/auth/login", json=body, headers=headers))
    return answer


def be_guest(shop: FlaskClient) -> dict[str, Any]:
    answer: dict[str, Any] = data(shop.post("/v1/auth/guest"), 201)
    return answer


def data(response: TestResponse, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    assert response.get_json()["success"] is True
    return response.get_json()["data"]


def refused(response: TestResponse) -> tuple[int, str]:
    body = response.get_json()
    assert body["success"] is False
    assert body["message"]
    return response.status_code, body["code"]


def refresh(shop: FlaskClient, token: str, **headers: str) -> TestResponse:
    return shop.post("/v1/auth/refresh", json={"refreshToken": token}, headers=headers)


def me(shop: FlaskClient, token: str) -> TestResponse:
    return shop.get("/v1/auth/me", headers=bearer(token))


def add(shop: FlaskClient, token: str, product_id: int, quantity: int) -> TestResponse:
    body = {"product_id": product_id, "quantity": quantity}
    return shop.post("/v1/cart/items", json=body, headers=bearer(token))


def cart(shop: FlaskClient, token: str) -> dict[int, int]:
    items = data(shop.get("/v1/cart", headers=bearer(token)))["items"]
    return {item["product_id"]: item["quantity"] for item in items}


def calls(shop: FlaskClient) -> dict[str, Any]:
    answer: dict[str, Any] = shop.get("/debug/calls").get_json()
    return answer


def test_login_answers_tokens_and_the_user(shop: FlaskClient) -> None:  # B15.1
    answer = log_in(shop)
    assert set(answer) == {"accessToken", "refreshToken", "expiresIn", "user"}
    assert answer["expiresIn"] == 900
    ada = {
        "id": "usr_ada",
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "roles": ["user"],
        "type": "user",
    }
    assert answer["user"] == ada
    identity = data(me(shop, answer["accessToken"]))
    assert type(identity.pop("exp")) is int
    assert identity == ada


def test_login_takes_a_username_too(shop: FlaskClient) -> None:
    body = {"username": "ADMIN@example.com", "password": DEMO_PASSWORD}
    assert data(shop.post("/v1/auth/login", json=body))["user"]["roles"] == ["admin"]


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
def test_wrong_password_and_unknown_user_look_the_same(shop: FlaskClient, email: str) -> None:
    response = shop.post("/v1/auth/login", json={"email": email, "password": "wrong"})
    assert refused(response) == (401, "invalid_credentials")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="example-shop"'


@pytest.mark.parametrize("body", [{}, {"email": "", "password": []}, {"email": "\ud800", "password": " "}])
def test_missing_login_fields_are_named(shop: FlaskClient, body: dict[str, object]) -> None:
    response = shop.post("/v1/auth/login", json=body)
    assert refused(response) == (422, "validation_failed")
    assert set(response.get_json()["errors"]) == {"email", "password"}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [("{", "application/json", 400), ("[]", "application/json", 400), ("a=b", "text/plain", 415)],
)
def test_body_that_is_no_json_object_is_refused(
    shop: FlaskClient, body: str, content_type: str, status: int
) -> None:
    assert refused(shop.post("/v1/auth/login", data=body, content_type=content_type))[0] == status


def test_register_creates_a_user_who_can_log_in(shop: FlaskClient) -> None:
    body = {"name": "Grace", "email": "grace@example.com", "password": DEMO_PASSWORD}
    answer = data(shop.post("/v1/auth/register", json=body), 201)
    assert answer["user"]["roles"] == ["user"]
    assert log_in(shop, "grace@example.com")["user"] == answer["user"]
    again = shop.post("/v1/auth/register", json=body | {"email": "Grace@Example.com"})
    assert refused(again) == (422, "validation_failed")
    assert again.get_json()["errors"] == {"email": ["The email has already been taken."]}


def test_register_lists_what_is_wrong_with_each_field(shop: FlaskClient) -> None:
    body = {"name": "x" * 201, "email": "grace", "password": "short"}
    response = shop.post("/v1/auth/register", json=body)
    assert refused(response) == (422, "validation_failed")
    assert set(response.get_json()["errors"]) == {"name", "email", "password"}


def test_guest_has_an_identity_but_no_user_rights(shop: FlaskClient) -> None:
    guest = be_guest(shop)
    identity = data(me(shop, guest["accessToken"]))
    assert (identity["type"], identity["roles"], identity["email"]) == ("guest", [], None)
    assert guest["expiresIn"] == 7 * 86_400
    assert refused(shop.get("/v1/orders", headers=bearer(guest["accessToken"]))) == (403, "user_required")
    whoami = data(shop.get("/v1/whoami", headers=bearer(guest["accessToken"])))
    assert whoami == {"mark": guest["user"]["id"], "type": "guest"}


def test_answers_can_come_without_the_user(open_shop: Open) -> None:
    shop = open_shop(LOGIN_USER=False, REFRESH_USER=False)
    answer = log_in(shop)
    assert "user" not in answer
    assert "user" not in data(refresh(shop, answer["refreshToken"]))


@pytest.mark.parametrize(
    "token", ["a", "a.b.c", "W10.W10.W10", "eyJhbGciOiJub25lIn0.e30.", "é.é.é", "." * 50]
)
def test_token_that_we_did_not_sign_is_invalid(shop: FlaskClient, token: str) -> None:
    response = me(shop, token)
    assert refused(response) == (401, "token_invalid")
    assert response.headers["WWW-Authenticate"].endswith('error="invalid_token"')


def test_missing_bearer_is_said_so(shop: FlaskClient) -> None:
    for path in ("auth/me", "cart", "orders", "admin/report", "whoami"):
        assert refused(shop.get(f"/v1/{path}")) == (401, "unauthenticated")


def test_token_of_another_backend_is_invalid(open_shop: Open) -> None:
    token = log_in(open_shop(JWT_SECRET="s" * 32))["accessToken"]
    assert refused(me(open_shop(JWT_SECRET="t" * 32), token)) == (401, "token_invalid")


def test_expired_access_token_is_refused_but_the_session_goes_on(open_shop: Open) -> None:
    shop = open_shop(ACCESS_TTL=AT_ONCE)
    answer = log_in(shop)
    assert refused(me(shop, answer["accessToken"])) == (401, "token_expired")
    assert refresh(shop, answer["refreshToken"]).status_code == 200


@pytest.mark.parametrize("start", [log_in, be_guest])
def test_refresh_rotates(shop: FlaskClient, start: Callable[[FlaskClient], dict[str, Any]]) -> None:
    first = start(shop)
    second = data(refresh(shop, first["refreshToken"]))
    assert second["user"] == first["user"]
    assert second["accessToken"] != first["accessToken"]
    assert second["refreshToken"] != first["refreshToken"]
    assert me(shop, second["accessToken"]).status_code == 200
    assert me(shop, first["accessToken"]).status_code == 200
    assert refresh(shop, second["refreshToken"]).status_code == 200


def test_reuse_revokes_the_whole_family_at_once(shop: FlaskClient) -> None:
    first, other = log_in(shop), log_in(shop)
    second = data(refresh(shop, first["refreshToken"], **{"Idempotency-Key": "k"}))
    again = refresh(shop, first["refreshToken"], **{"Idempotency-Key": "k"})
    assert refused(again) == (409, "token_reuse")
    for token in (first["accessToken"], second["accessToken"]):
        assert refused(me(shop, token)) == (401, "token_revoked")
    assert refused(refresh(shop, second["refreshToken"])) == (401, "invalid_grant")
    assert me(shop, other["accessToken"]).status_code == 200
    assert calls(shop)["reuse_events"] == 1


def test_unknown_or_expired_refresh_token_is_an_invalid_grant(open_shop: Open) -> None:
    shop = open_shop(REFRESH_TTL=AT_ONCE)
    assert refused(refresh(shop, "unknown\ud800")) == (422, "validation_failed")
    assert refused(refresh(shop, "unknown")) == (401, "invalid_grant")
    assert refused(refresh(shop, log_in(shop)["refreshToken"])) == (401, "invalid_grant")


def test_refresh_tokens_are_kept_as_digests_only(shop: FlaskClient, tmp_path: Path) -> None:
    token = log_in(shop)["refreshToken"]
    with closing(sqlite3.connect(tmp_path / "shop.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM credential").fetchone() == (1,)
        assert token not in "\n".join(connection.iterdump())


@pytest.mark.parametrize("by_bearer", [True, False])
def test_logout_ends_the_session(shop: FlaskClient, by_bearer: bool) -> None:
    answer = log_in(shop)
    headers = bearer(answer["accessToken"]) if by_bearer else {}
    body = {} if by_bearer else {"refreshToken": answer["refreshToken"]}
    for _ in range(2):
        response = shop.post("/v1/auth/logout", json=body, headers=headers)
        assert (response.status_code, response.data) == (204, b"")
    assert refused(me(shop, answer["accessToken"])) == (401, "token_revoked")
    assert refused(refresh(shop, answer["refreshToken"])) == (401, "invalid_grant")


@pytest.mark.parametrize("body", ["", "{", '{"refreshToken": 1}', '{"refreshToken": "\\ud800"}'])
def test_logout_never_fails(shop: FlaskClient, body: str) -> None:
    response = shop.post("/v1/auth/logout", data=body, content_type="application/json", headers=bearer("x"))
    assert response.status_code == 204


def test_single_mode_exchanges_the_expired_access_token(open_shop: Open) -> None:
    shop = open_shop(TOKENS="single", ACCESS_TTL=AT_ONCE)
    first = log_in(shop)
    assert "refreshToken" not in first
    second = data(shop.post("/v1/auth/refresh", headers=bearer(first["accessToken"])))
    again = shop.post("/v1/auth/refresh", headers=bearer(first["accessToken"]))
    assert refused(again) == (409, "token_reuse")
    revoked = shop.post("/v1/auth/refresh", headers=bearer(second["accessToken"]))
    assert refused(revoked) == (401, "invalid_grant")
    assert refused(shop.post("/v1/auth/refresh")) == (401, "unauthenticated")


def test_single_mode_ends_some_time_after_the_access_token(open_shop: Open) -> None:
    shop = open_shop(TOKENS="single", ACCESS_TTL=AT_ONCE, REFRESH_TTL=AT_ONCE)
    response = shop.post("/v1/auth/refresh", headers=bearer(log_in(shop)["accessToken"]))
    assert refused(response) == (401, "invalid_grant")


def test_catalogue_is_public_and_can_be_searched(shop: FlaskClient) -> None:
    products = data(shop.get("/v1/products"))
    assert [product["image"] for product in products] == list(IMAGE_KEYS)
    assert [product["name"] for product in data(shop.get("/v1/products?q=STEEL+cup"))] == [
        "Steel water bottle"
    ]
    assert len(data(shop.get("/v1/products?category=desk"))) == 3
    assert data(shop.get("/v1/products?category=desk&q=teapot")) == []
    assert data(shop.get("/v1/products/4"))["name"] == "Salt & pepper mills"
    categories = data(shop.get("/v1/categories"))
    assert [item["slug"] for item in categories] == ["kitchen", "desk", "outdoors", "home"]
    assert sum(item["count"] for item in categories) == len(products)


@pytest.mark.parametrize(
    "path", ["products/99", "products/99999999999999999999", "products/", "nothing", "/cart"]
)
def test_what_is_not_there_is_404_in_the_envelope(shop: FlaskClient, path: str) -> None:
    assert refused(shop.get(f"/v1/{path}")) == (404, "not_found")


def test_wrong_method_names_the_right_ones(shop: FlaskClient) -> None:
    response = shop.delete("/v1/cart")
    assert refused(response) == (405, "method_not_allowed")
    assert "GET" in response.headers["Allow"]


def test_cart_adds_changes_and_removes(shop: FlaskClient) -> None:
    token = be_guest(shop)["accessToken"]
    assert data(add(shop, token, 1, 2), 201)["count"] == 2
    item = data(add(shop, token, 1, 1), 201)["items"][0]
    assert (item["product_id"], item["quantity"], item["line_cents"], item["image"]) == (1, 3, 4200, "mug")
    changed = shop.patch("/v1/cart/items/1", json={"quantity": 5}, headers=bearer(token))
    assert data(changed)["total_cents"] == 7000
    for _ in range(2):
        assert shop.delete("/v1/cart/items/1", headers=bearer(token)).status_code == 204
    missing = shop.patch("/v1/cart/items/1", json={"quantity": 5}, headers=bearer(token))
    assert refused(missing) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"product_id": 10, "quantity": 4}, "quantity"),
        ({"product_id": 1, "quantity": 0}, "quantity"),
        ({"product_id": 1, "quantity": True}, "quantity"),
        ({"product_id": 99, "quantity": 1}, "product_id"),
        ({"quantity": 1}, "product_id"),
    ],
)
def test_cart_refuses_what_cannot_be_had(shop: FlaskClient, body: dict[str, object], field: str) -> None:
    response = shop.post("/v1/cart/items", json=body, headers=bearer(be_guest(shop)["accessToken"]))
    assert refused(response) == (422, "validation_failed")
    assert set(response.get_json()["errors"]) == {field}


def test_login_merges_the_guest_cart_once(shop: FlaskClient) -> None:
    ada = log_in(shop)["accessToken"]
    add(shop, ada, 1, 1)
    guest = be_guest(shop)["accessToken"]
    add(shop, guest, 1, 2)
    add(shop, guest, 2, 3)
    for _ in range(2):
        log_in(shop, **{"X-Guest-Token": guest})
        assert cart(shop, ada) == {1: 3, 2: 3}
    assert cart(shop, guest) == {}


def test_cart_of_a_guest_whose_token_just_expired_is_merged(open_shop: Open) -> None:
    shop = open_shop(GUEST_TTL=AT_ONCE)
    expired = be_guest(shop)
    token = data(refresh(open_shop(GUEST_TTL=60), expired["refreshToken"]))["accessToken"]
    add(shop, token, 3, 1)
    body = {"name": "Grace", "email": "grace@example.com", "password": DEMO_PASSWORD}
    response = shop.post("/v1/auth/register", json=body, headers={"X-Guest-Token": expired["accessToken"]})
    assert cart(shop, data(response, 201)["accessToken"]) == {3: 1}


def test_login_ignores_a_guest_token_that_is_none(shop: FlaskClient) -> None:
    ada = log_in(shop)["accessToken"]
    add(shop, ada, 1, 1)
    for token in ("nonsense", ada, ""):
        admin = log_in(shop, "admin@example.com", **{"X-Guest-Token": token})
        assert cart(shop, admin["accessToken"]) == {}
    assert cart(shop, ada) == {1: 1}


def test_order_takes_the_cart_and_the_stock(shop: FlaskClient) -> None:
    ada, admin = log_in(shop)["accessToken"], log_in(shop, "admin@example.com")["accessToken"]
    for token in (ada, admin):
        add(shop, token, 10, 2)
    order = data(shop.post("/v1/orders", headers=bearer(ada)), 201)
    assert (order["total_cents"], order["items"][0]["quantity"]) == (6200, 2)
    assert re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", order["created_at"])
    assert data(shop.get("/v1/orders", headers=bearer(ada))) == [order]
    assert data(shop.get("/v1/products/10"))["stock"] == 1
    assert refused(shop.post("/v1/orders", headers=bearer(ada))) == (422, "cart_empty")
    assert refused(shop.post("/v1/orders", headers=bearer(admin))) == (409, "out_of_stock")
    assert cart(shop, admin) == {10: 2}


def test_report_is_for_staff(shop: FlaskClient) -> None:
    ada = log_in(shop)["accessToken"]
    be_guest(shop)
    add(shop, ada, 1, 2)
    shop.post("/v1/orders", headers=bearer(ada))
    assert refused(shop.get("/v1/admin/report", headers=bearer(ada))) == (403, "forbidden")
    for email in ("admin@example.com", "editor@example.com"):
        report = data(shop.get("/v1/admin/report", headers=bearer(log_in(shop, email)["accessToken"])))
        assert [report[name] for name in ("users", "guests", "orders", "revenue_cents")] == [3, 1, 1, 2800]
        assert report["top_products"][0]["name"] == "Enamel mug"
        assert report["recent_orders"][0]["customer"] == "Ada Lovelace"


def test_echo_tells_what_arrived_but_no_token(shop: FlaskClient) -> None:
    headers = bearer("secret-token") | {"X-Custom": "1"}
    response = shop.post("/v1/echo/a%20b?x=%20&y", data=b"hello", headers=headers)
    answer = response.get_json()
    assert (answer["method"], answer["path"], answer["query"]) == ("POST", "/v1/echo/a b", "x=%20&y")
    assert answer["body"] == {"length": 5, "sha256": hashlib.sha256(b"hello").hexdigest()}
    assert ["Authorization", "present"] in answer["headers"]
    assert ["X-Custom", "1"] in answer["headers"]
    assert "secret-token" not in response.text
    assert ["Authorization", "absent"] in shop.post("/v1/echo").get_json()["headers"]


@pytest.mark.parametrize("size", [0, 1, 65_511, 200_000])
def test_bytes_are_counted_out(shop: FlaskClient, size: int) -> None:
    response = shop.get(f"/v1/bytes/{size}")
    assert response.headers["Content-Length"] == str(size)
    assert response.data == bytes(position % 251 for position in range(size))


def test_gzip_is_compressed_whatever_was_asked_for(shop: FlaskClient) -> None:
    response = shop.get("/v1/gzip", headers={"Accept-Encoding": "identity"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert b"compress me" in gzip.decompress(response.data)


@pytest.mark.parametrize("code", [200, 201, 204, 304, 401, 418, 429, 500, 599])
def test_status_is_the_one_asked_for(shop: FlaskClient, code: int) -> None:
    assert shop.get(f"/v1/status/{code}").status_code == code


def test_redirect_goes_where_it_was_told(shop: FlaskClient) -> None:
    response = shop.get("/v1/redirect?to=//evil.example/%2541")
    assert (response.status_code, response.headers["Location"]) == (302, "//evil.example/%41")
    assert refused(shop.get("/v1/redirect?to=/%0d%0aX:1"))[0] == 422


def test_headers_has_what_a_proxy_must_think_about(shop: FlaskClient) -> None:
    response = shop.get("/v1/headers")
    assert len(response.headers.getlist("Link")) == 2
    assert len(response.headers.getlist("Set-Cookie")) == 2
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cache-Control"].startswith("public")
    etag = response.headers["ETag"]
    assert shop.get("/v1/headers", headers={"If-None-Match": etag}).status_code == 304


def test_calls_are_counted_by_rule(shop: FlaskClient) -> None:
    token = log_in(shop)["accessToken"]
    me(shop, token)
    for product_id in (1, 2, 99):
        shop.get(f"/v1/products/{product_id}", headers={"Idempotency-Key": "k"})
    shop.get("/v1/nothing")
    counted = calls(shop)
    expected = {"POST auth/login": 1, "GET auth/me": 1, "GET products/<id>": 3, "GET <unknown>": 1}
    assert counted["calls"] == expected
    assert counted["bearers"] == {"GET auth/me": 1}
    assert counted["idempotency_keys"] == [hashlib.sha256(b"k").hexdigest()[:12]] * 3
    assert shop.post("/debug/reset").status_code == 204
    assert calls(shop)["calls"] == {}


def test_debug_is_for_this_machine_only(shop: FlaskClient, open_shop: Open) -> None:
    assert refused(shop.get("/debug/calls", environ_base={"REMOTE_ADDR": "192.0.2.1"})) == (404, "not_found")
    assert refused(shop.get("/debug/calls", environ_base={"REMOTE_ADDR": ""})) == (404, "not_found")
    assert refused(open_shop(DEBUG_ENDPOINTS=False).get("/debug/calls")) == (404, "not_found")


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "body"),
    [
        ({"status": 503, "retry_after": 7}, 503, "application/json", b"out of order"),
        ({"mode": "status"}, 500, "application/json", b'"fault"'),
        ({"status": 400, "code": "invalid_grant"}, 400, "application/json", b"invalid_grant"),
        ({"mode": "html"}, 200, "text/html; charset=utf-8", b"<h1>"),
        ({"mode": "empty"}, 200, "application/json", b""),
        ({"mode": "garbage"}, 200, "application/json", b"tru\xff"),
    ],
)
def test_fault_answers_instead_and_wears_off(
    shop: FlaskClient, fault: dict[str, object], status: int, content_type: str, body: bytes
) -> None:
    installed = shop.post("/debug/faults", json={"path": "categories", "times": 2} | fault)
    assert installed.status_code == 204
    for _ in range(2):
        response = shop.get("/v1/categories")
        assert (response.status_code, response.content_type) == (status, content_type)
        assert body in response.data
        assert response.headers.get("Retry-After") == (
            str(fault["retry_after"]) if "retry_after" in fault else None
        )
    assert shop.get("/v1/categories").status_code == 200


def test_fault_stays_until_reset_and_only_where_it_was_put(shop: FlaskClient) -> None:
    shop.post("/debug/faults", json={"path": "products/<id>", "status": 500})
    shop.post("/debug/faults", json={"path": "cart", "method": "DELETE", "status": 501})
    shop.post("/debug/faults", json={"path": "categories", "delay": 0.001})
    assert [shop.get("/v1/products/1").status_code for _ in range(3)] == [500, 500, 500]
    assert shop.get("/v1/products").status_code == 200
    assert shop.get("/v1/categories").status_code == 200
    assert [shop.get("/v1/cart").status_code, shop.delete("/v1/cart").status_code] == [401, 501]
    shop.post("/debug/reset")
    assert shop.get("/v1/products/1").status_code == 200


@pytest.mark.parametrize(
    "fault", [{}, {"path": "cart", "mode": "magic"}, {"path": "cart", "times": 0, "tiems": 1}]
)
def test_fault_that_makes_no_sense_is_refused(shop: FlaskClient, fault: dict[str, object]) -> None:
    response = shop.post("/debug/faults", json=fault)
    assert refused(response) == (422, "validation_failed")
    assert set(response.get_json()["errors"]) <= {"path", "mode", "times", "tiems"}


def test_user_can_be_changed_while_logged_in(shop: FlaskClient) -> None:
    answer = log_in(shop)
    token, url = answer["accessToken"], "/debug/users/ada@example.com"
    shop.post(url, json={"roles": ["admin"]})
    assert data(me(shop, token))["roles"] == ["admin"]
    shop.post(url, json={"forbidden": True})
    assert refused(me(shop, token)) == (403, "account_forbidden")
    assert shop.get("/v1/cart", headers=bearer(token)).status_code == 200
    shop.post(url, json={"disabled": True, "forbidden": False})
    assert refused(me(shop, token)) == (401, "account_disabled")
    assert refused(refresh(shop, answer["refreshToken"])) == (401, "invalid_grant")
    shop.post(url, json={"disabled": False})
    assert refresh(shop, answer["refreshToken"]).status_code == 200
    assert refused(shop.post("/debug/users/no@example.com", json={})) == (404, "not_found")
    assert refused(shop.post(url, json={"roles": "admin"})) == (422, "validation_failed")


def test_restart_keeps_sessions_carts_and_the_secret(open_shop: Open) -> None:
    token = log_in(open_shop())["accessToken"]
    add(open_shop(), token, 1, 1)
    assert cart(open_shop(), token) == {1: 1}
    assert len(data(open_shop().get("/v1/products"))) == len(IMAGE_KEYS)


def test_settings_come_from_the_environment_too(open_shop: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_BACKEND_ACCESS_TTL", "1.5")
    monkeypatch.setenv("SHOP_BACKEND_TOKENS", "single")
    assert log_in(open_shop(LOGIN_USER=False)).keys() == {"accessToken", "expiresIn"}
    assert log_in(open_shop())["expiresIn"] == 1.5
    assert log_in(open_shop(ACCESS_TTL=60))["expiresIn"] == 60


def test_settings_that_cannot_work_are_named_without_their_value(open_shop: Open) -> None:
    with pytest.raises(ValueError, match=r"JWT_SECRET.*ACCESS_TTL.*TOKENS.*LOGIN_USER") as caught:
        open_shop(ACCESS_TTL=float("nan"), TOKENS="triple", LOGIN_USER="False", JWT_SECRET="too-short")
    assert "too-short" not in str(caught.value)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    environ = os.environ | {
        "SHOP_BACKEND_DATABASE": str(tmp_path_factory.mktemp("backend") / "shop.sqlite3"),
        "SHOP_BACKEND_PASSWORD_METHOD": FAST["PASSWORD_METHOD"],
    }
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--threads", "24"]
        command += ["--no-control-socket", "--graceful-timeout", "1", "--log-level", "warning"]
        command += ["example_app.backend:create_app()"]
        process = subprocess.Popen(command, cwd=ROOT, env=environ, pass_fds=[listener.fileno()])
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.fixture
def http(server: str) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session
        session.post(f"{server}/debug/reset", timeout=10).raise_for_status()


def test_one_of_twenty_parallel_exchanges_wins(server: str, http: requests.Session) -> None:
    guest = http.post(f"{server}/v1/auth/guest", timeout=10).json()["data"]
    barrier = Barrier(20)

    def exchange(_: int) -> int:
        barrier.wait()
        body = {"refreshToken": guest["refreshToken"]}
        return requests.post(f"{server}/v1/auth/refresh", json=body, timeout=10).status_code

    with ThreadPoolExecutor(20) as pool:
        assert Counter(pool.map(exchange, range(20))) == {200: 1, 409: 19}
    counted = http.get(f"{server}/debug/calls", timeout=10).json()
    assert counted["calls"] == {"POST auth/guest": 1, "POST auth/refresh": 20}
    assert counted["reuse_events"] == 19
    revoked = http.get(f"{server}/v1/auth/me", headers=bearer(guest["accessToken"]), timeout=10)
    assert revoked.json()["code"] == "token_revoked"


def test_twenty_parallel_shoppers_lose_nothing(server: str, http: requests.Session) -> None:
    guest = bearer(http.post(f"{server}/v1/auth/guest", timeout=10).json()["data"]["accessToken"])

    def put(_: int) -> int:
        body = {"product_id": 1, "quantity": 1}
        return requests.post(f"{server}/v1/cart/items", json=body, headers=guest, timeout=10).status_code

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(put, range(20))) == {201}
    assert http.get(f"{server}/v1/cart", headers=guest, timeout=10).json()["data"]["count"] == 20


def test_truncated_answer_breaks_the_connection(server: str, http: requests.Session) -> None:
    http.post(
        f"{server}/debug/faults", json={"path": "categories", "mode": "truncated", "times": 1}, timeout=10
    )
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        http.get(f"{server}/v1/categories", timeout=10)
    assert http.get(f"{server}/v1/categories", timeout=10).status_code == 200


def test_hanging_endpoint_is_freed_by_reset(server: str, http: requests.Session) -> None:
    http.post(f"{server}/debug/faults", json={"path": "categories", "mode": "hang"}, timeout=10)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(requests.get, f"{server}/v1/categories", timeout=10)
        wait_for(lambda: http.get(f"{server}/debug/calls", timeout=10).json()["calls"] != {})
        assert not answer.done()
        http.post(f"{server}/debug/reset", timeout=10)
        assert isinstance(answer.exception(), requests.exceptions.ConnectionError)


def test_hanging_endpoint_is_freed_by_a_client_that_gives_up(server: str, http: requests.Session) -> None:
    http.post(f"{server}/debug/faults", json={"path": "categories", "mode": "hang", "times": 30}, timeout=10)

    def give_up(_: int) -> None:
        with pytest.raises(requests.exceptions.Timeout):
            requests.get(f"{server}/v1/categories", timeout=(10, 0.05))

    # More of them than the server has threads: it answers only if none of them keeps its thread.
    with ThreadPoolExecutor(30) as pool:
        list(pool.map(give_up, range(30)))
    assert http.get(f"{server}/v1/products", timeout=10).status_code == 200


def test_events_arrive_one_by_one_and_end_with_the_client(server: str, http: requests.Session) -> None:
    with http.get(f"{server}/v1/events?n=3&gap=0", stream=True, timeout=10) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.text.count("event: tick") == 3
    with requests.get(f"{server}/v1/events?n=10000&gap=0.01", stream=True, timeout=10) as response:
        assert next(response.iter_lines()) == b"id: 1"
        assert http.get(f"{server}/debug/calls", timeout=10).json()["open_streams"] == 1
    wait_for(lambda: http.get(f"{server}/debug/calls", timeout=10).json()["open_streams"] == 0)


def test_unread_body_does_not_spoil_the_connection(server: str, http: requests.Session) -> None:
    for _ in range(3):
        answer = http.post(f"{server}/v1/auth/guest", json={"client": "x" * 5000}, timeout=10)
        assert answer.status_code == 201
        large = http.post(f"{server}/v1/auth/login", json={"email": "x" * 2_000_000}, timeout=10)
        assert (large.status_code, large.json()["code"]) == (413, "request_entity_too_large")
    echo = http.post(f"{server}/v1/echo", data=iter([b"ab", b"cd"]), timeout=10).json()
    assert echo["body"] == {"length": 4, "sha256": hashlib.sha256(b"abcd").hexdigest()}
    assert echo["raw_target"] == "/v1/echo"


def test_upload_that_breaks_off_is_not_taken_for_a_whole_one(server: str) -> None:
    address = ("127.0.0.1", int(server.rpartition(":")[2]))
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"POST /v1/echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline, "it did not become so within 10 seconds"
        time.sleep(0.01)
