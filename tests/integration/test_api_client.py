"""``api`` within views, and the client for jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_api_layer import (
    ApiError,
    ApiLayer,
    ApiResponse,
    HttpError,
    NetworkError,
    RequestTimeout,
    api,
    current_user,
    public,
)
from tests.processes import DeadPort, ShopBackend
from tests.raw_server import Peer, RawServer

from .visitors import (
    GUEST,
    NAVIGATION,
    SECURE,
    USER,
    WEEK,
    Browser,
    MakeApp,
    StartBackend,
    assert_private,
    assert_problem,
    set_cookies,
)
from .wire import journal

Call = Callable[[], Any]
KEPT = {**SECURE, "Max-Age": WEEK}


@pytest.fixture
def app(backend: ShopBackend, make_app: MakeApp) -> Flask:
    return make_app(
        backend, proxy_public=["echo/**", "products/**", "status/*", "bytes/*", "gzip", "headers"]
    )


def inside(app: Flask, call: Call) -> Any:
    """What a call gives within a view of a visitor without cookies."""
    found: list[Any] = []

    def view() -> str:
        found.append(call())
        return ""

    app.add_url_rule("/inside", endpoint="inside", view_func=view)
    with app.test_client() as client:
        assert client.get("/inside").status_code == 200
    return found[0]


def serve_call(app: Flask, call: Call, backend: ShopBackend, *, user: bool) -> Browser:
    """A browser for an app whose page ``/page`` is what the call returns."""
    app.add_url_rule("/page", endpoint="page", view_func=call)
    browser = Browser(app)
    if user:
        browser.log_in()
    backend.reset()
    return browser


# B11.1
def test_an_answer_in_the_usual_shape(app: Flask) -> None:
    answer: ApiResponse = inside(app, lambda: api.get("products/1"))
    assert (answer.ok, answer.status_code, answer.error) == (True, 200, None)
    assert answer.data["name"] == "Enamel mug"
    assert answer.body == {"success": True, "data": answer.data}
    assert answer.message is None
    assert not answer.errors
    assert answer.headers["content-type"] == "application/json"
    assert "Enamel mug" in answer.text
    assert answer.content == answer.text.encode()
    assert answer.raise_for_error() is answer


# B11.1
def test_an_answer_in_another_shape_is_its_own_data(app: Flask) -> None:
    answer = inside(app, lambda: api.get("echo"))
    assert answer.data == answer.body
    assert answer.data["method"] == "GET"


# B11.1; ancestor C2
@pytest.mark.parametrize(("path", "status"), [("status/204", 204), ("bytes/0", 200), ("bytes/20", 200)])
def test_an_answer_that_is_no_json_has_no_data(path: str, status: int, app: Flask) -> None:
    answer = inside(app, lambda: api.get(path))
    assert (answer.ok, answer.status_code) == (True, status)
    assert answer.body is None
    assert answer.data is None
    assert answer.content == bytes(range(int(path[6:]) if "bytes" in path else 0))


# B11.1; ancestor C2
def test_an_error_that_is_no_json_raises_nothing(app: Flask, backend: ShopBackend) -> None:
    backend.fault("echo", mode="html", status=404)
    answer = inside(app, lambda: api.get("echo"))
    assert (answer.ok, answer.status_code, answer.body) == (False, 404, None)
    assert "We will be back" in answer.text


# B11.1
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_has_a_name(method: str, app: Flask, backend: ShopBackend) -> None:
    assert inside(app, lambda: getattr(api, method.lower())("echo/a")).data["method"] == method
    assert backend.calls() == {f"{method} echo/<rest>": 1}


# B11.1
def test_request_takes_the_method(app: Flask) -> None:
    assert inside(app, lambda: api.request("PATCH", "echo")).data["method"] == "PATCH"


# B11.1
def test_head_has_headers_and_no_body(app: Flask) -> None:
    answer = inside(app, lambda: api.head("bytes/100"))
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "100")


def sent(app: Flask, **options: Any) -> Any:
    return inside(app, lambda: api.post("echo", **options)).data


# B11.1
def test_json_is_sent_as_json(app: Flask) -> None:
    seen = sent(app, json={"name": "Kaf\u00e9"})
    assert ["Content-Type", "application/json"] in seen["headers"]
    assert seen["body"]["length"] > 0


# B11.1
@pytest.mark.parametrize("data", [b"\x00\xffbytes", "t\u00e9xt"])
def test_data_is_sent_as_it_is(data: str | bytes, app: Flask) -> None:
    raw = data if isinstance(data, bytes) else data.encode()
    assert sent(app, data=data)["body"] == {"length": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


# B11.1
def test_a_dict_is_sent_as_a_form(app: Flask) -> None:
    seen = sent(app, data={"a": "1 2"})
    assert ["Content-Type", "application/x-www-form-urlencoded"] in seen["headers"]
    assert seen["body"]["sha256"] == hashlib.sha256(b"a=1+2").hexdigest()


# B11.1
def test_files_are_sent_as_multipart(app: Flask) -> None:
    seen = sent(app, files={"photo": ("a.png", b"\x89PNG")})
    [content_type] = [value for name, value in seen["headers"] if name == "Content-Type"]
    assert content_type.startswith("multipart/form-data; boundary=")


# B11.1
def test_params_join_the_query_of_the_path(app: Flask) -> None:
    answer = inside(app, lambda: api.get("echo?a=1", params={"b": "2 3"}))
    assert answer.data["query"] == "a=1&b=2+3"


# B11.1
def test_headers_are_sent(app: Flask) -> None:
    assert ["X-Tenant", "blue"] in sent(app, headers={"X-Tenant": "blue"})["headers"]


# B11.1
@pytest.mark.parametrize(
    "path", ["echo/a", "/echo/a", "echo/caf\u00e9", "echo/caf%C3%A9", "echo/v1..2", "echo/a/"]
)
def test_a_path_is_relative_to_the_backend(path: str, app: Flask) -> None:
    target = inside(app, lambda: api.get(path)).data["raw_target"]
    assert target == f"/v1/{path.removeprefix('/')}".replace("\u00e9", "%C3%A9")


# B11.1
@pytest.mark.parametrize(
    "path",
    [
        "http://evil.test/x",
        "https://evil.test/x",
        "//evil.test/x",
        "///evil.test",
        "file:///etc/passwd",
        "javascript:x",
        "../admin",
        "echo/../../admin",
        "echo/..",
        "./echo",
        "%2e%2e/admin",
        "echo/%2e%2e/admin",
        "echo/%252e%252e/admin",
        "echo//a",
        "echo/a%2f..%2fb",
        "echo/%2f",
        "..\\admin",
        "echo\\a",
        "echo/%5c",
        "echo/a\nb",
        "echo/a\r\nX: y",
        "echo/\x00",
        "echo/%00",
        "echo/%0d%0aX:y",
        "echo/%ff",
        "echo/%zz",
        "echo?a=b\r\nX: y",
        "echo/\uff0e\uff0e/x",
    ],
)
def test_a_path_that_could_lead_elsewhere_raises_before_anything_is_sent(
    path: str, app: Flask, backend: ShopBackend
) -> None:
    def attempt() -> str:
        with pytest.raises(ValueError, match=r".") as caught:
            api.get(path)
        return type(caught.value).__name__

    assert inside(app, attempt) in ("ValueError", "BadPath")
    assert backend.calls() == {}


# B11.1
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 502, 503])
def test_no_status_raises_unless_asked(status: int, app: Flask) -> None:
    answer = inside(app, lambda: api.get(f"status/{status}"))
    assert (answer.ok, answer.status_code) == (False, status)
    assert answer.message == f"You asked for {status}."
    assert isinstance(answer.error, HttpError)
    assert answer.error.status == status
    with pytest.raises(HttpError) as caught:
        answer.raise_for_error()
    assert caught.value is answer.error


# B11.1
def test_the_errors_of_a_validation_come_through(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = serve_call(
        make_app(backend),
        lambda: dict(api.post("cart/items", json={"product_id": 0}).errors),
        backend,
        user=True,
    )
    assert list(browser.fetch("/page").get_json()) == ["product_id"]


# B11.1
def test_a_silent_backend_raises_nothing(app: Flask, backend: ShopBackend) -> None:
    backend.fault("echo", mode="hang")
    answer = inside(app, lambda: api.get("echo", timeout=0.2))
    assert (answer.ok, answer.status_code, answer.data) == (False, 504, None)
    assert isinstance(answer.error, RequestTimeout)
    assert (answer.error.endpoint, answer.error.timeout) == ("echo", 0.2)


# B11.1
def test_a_dead_network_raises_nothing(make_app: MakeApp) -> None:
    with DeadPort() as url:
        answer = inside(make_app(url, proxy_public=["**"]), lambda: api.get("echo"))
    assert (answer.ok, answer.status_code) == (False, 502)
    assert isinstance(answer.error, NetworkError)
    assert answer.error.endpoint == "echo"
    with pytest.raises(ApiError):
        answer.raise_for_error()


# B11.1, corpus 7
@pytest.mark.parametrize(
    "noise", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"]
)
def test_a_broken_answer_raises_nothing(noise: bytes, make_app: MakeApp) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(noise)

    with RawServer(script) as upstream:
        answer = inside(make_app(upstream.url, proxy_public=["**"]), lambda: api.post("echo"))
        assert upstream.connections == 1
    assert answer.status_code == 502
    assert isinstance(answer.error, NetworkError)


# B11.1; ancestor C2
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_tried_again_by_itself(method: str, app: Flask, backend: ShopBackend) -> None:
    backend.fault("echo", status=503)
    assert inside(app, lambda: api.request(method, "echo")).status_code == 503
    assert backend.calls() == {f"{method} echo": 1}


# B6.8
def test_redirects_are_not_followed(make_app: MakeApp, backend: ShopBackend) -> None:
    app = make_app(backend, proxy_public=["redirect"])
    answer = inside(app, lambda: api.get("redirect?to=/v1/echo"))
    assert answer.status_code == 302
    assert backend.calls() == {"GET redirect": 1}


# B6.8
def test_a_cookie_of_the_backend_is_not_kept(app: Flask) -> None:
    def twice() -> Any:
        assert api.get("headers").headers["Set-Cookie"]
        return api.get("echo").data["headers"]

    assert "Cookie" not in [name for name, _ in inside(app, twice)]


# B11.3
def test_a_user_calls_with_their_token(app: Flask, backend: ShopBackend) -> None:
    browser = serve_call(app, lambda: api.get("whoami").data, backend, user=True)
    answer = browser.fetch("/page")
    assert answer.get_json() == {"mark": "usr_ada", "type": "user"}
    assert set_cookies(answer) == {}
    assert_private(answer)


# B11.3, B5.1
def test_a_visitor_calls_as_a_new_guest(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    browser = serve_call(app, lambda: api.get("whoami").data, backend, user=False)
    answer = browser.fetch("/page")
    assert answer.get_json()["type"] == "guest"
    assert set_cookies(answer)[GUEST].attributes == KEPT
    assert_private(answer)
    again = browser.fetch("/page")
    assert again.get_json() == answer.get_json()
    assert set_cookies(again) == {}
    assert backend.calls()["POST auth/guest"] == 1


# B11.3
def test_nobodys_call_is_a_401_without_a_call(app: Flask, backend: ShopBackend) -> None:
    answer = inside(app, lambda: api.get("whoami"))
    assert (answer.ok, answer.status_code, answer.data) == (False, 401, None)
    assert isinstance(answer.error, HttpError)
    assert backend.calls() == {}


# B5.1
def test_a_call_in_a_public_view_mints_nobody(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    browser = serve_call(app, public(lambda: str(api.get("whoami").status_code)), backend, user=False)
    answer = browser.fetch("/page")
    assert answer.text == "401"
    assert set_cookies(answer) == {}
    assert backend.calls() == {}


# B11.3, B5.1: a cookieless request that calls nothing costs nothing
def test_a_view_that_does_not_call_mints_nobody(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    browser = serve_call(app, lambda: current_user.kind, backend, user=False)
    assert browser.fetch("/page").text == "anonymous"
    assert backend.calls() == {}


# B11.3
@pytest.mark.parametrize(("path", "options"), [("echo", {}), ("echo/a", {}), ("whoami", {"auth": False})])
def test_a_public_call_carries_no_token(
    path: str, options: dict[str, Any], app: Flask, backend: ShopBackend
) -> None:
    browser = serve_call(app, lambda: str(api.get(path, **options).status_code), backend, user=True)
    assert browser.fetch("/page").status_code == 200
    assert journal(backend)["bearers"] == {}
    assert sum(backend.calls().values()) == 1


# B11.3
def test_a_401_leads_to_one_refresh_and_one_replay(app: Flask, backend: ShopBackend) -> None:
    browser = serve_call(app, lambda: api.get("whoami").data, backend, user=True)
    backend.fault("whoami", status=401, times=1)
    answer = browser.fetch("/page")
    assert answer.get_json()["mark"] == "usr_ada"
    assert {name: cookie.attributes for name, cookie in set_cookies(answer).items()} == {USER: KEPT}
    calls = backend.calls()
    assert (calls["GET whoami"], calls["POST auth/refresh"]) == (2, 1)


# B11.3
@pytest.mark.parametrize(
    "options", [{"json": {"a": 1}}, {"data": b"a"}, {"data": {"a": "1"}}, {"params": {"a": 1}}]
)
def test_the_replay_repeats_the_body(
    options: dict[str, Any], backend: ShopBackend, make_app: MakeApp
) -> None:
    app = make_app(backend)
    browser = serve_call(app, lambda: api.post("echo", **options).data, backend, user=True)
    expected = browser.fetch("/page").get_json()
    backend.fault("echo", status=401, times=1)
    assert browser.fetch("/page").get_json()["body"] == expected["body"]


# B11.3
def test_a_second_401_is_the_answer(app: Flask, backend: ShopBackend) -> None:
    def view() -> str:
        answer = api.get("whoami")
        return f"{answer.status_code} {(answer.body or {}).get('code')}"

    browser = serve_call(app, view, backend, user=True)
    backend.fault("whoami", status=401, code="not_today")
    answer = browser.fetch("/page")
    assert answer.text == "401 not_today"
    assert set_cookies(answer)[USER].attributes == KEPT
    assert (backend.calls("GET whoami"), backend.calls("POST auth/refresh")) == (2, 1)


# B11.3: later calls of the request use the new token
def test_the_next_call_of_the_view_uses_the_new_token(app: Flask, backend: ShopBackend) -> None:
    browser = serve_call(
        app, lambda: " ".join(str(api.get("whoami").status_code) for _ in range(3)), backend, user=True
    )
    backend.fault("whoami", status=401, times=1)
    assert browser.fetch("/page").text == "200 200 200"
    assert (backend.calls("GET whoami"), backend.calls("POST auth/refresh")) == (4, 1)


# B11.3
def test_403_refreshes_nothing(app: Flask, backend: ShopBackend) -> None:
    browser = serve_call(app, lambda: str(api.get("whoami").status_code), backend, user=True)
    backend.fault("whoami", status=403)
    answer = browser.fetch("/page")
    assert answer.text == "403"
    assert set_cookies(answer) == {}
    assert backend.calls("POST auth/refresh") == 0


# B11.1, B4.7
@pytest.mark.parametrize("fault", [{"status": 503}, {"mode": "html"}, {"mode": "truncated"}, {"status": 429}])
def test_an_outage_at_the_refresh_raises_nothing_and_keeps_the_cookies(
    fault: dict[str, Any], app: Flask, backend: ShopBackend
) -> None:
    browser = serve_call(app, lambda: str(api.get("whoami").status_code), backend, user=True)
    backend.fault("whoami", status=401)
    backend.fault("auth/refresh", **fault)
    answer = browser.fetch("/page")
    assert answer.text == "503"
    assert set_cookies(answer) == {}


# B4.7: what the check has refused is not sent once more
def test_a_token_that_was_refused_is_not_used_again(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, validate_ttl=0)
    browser = serve_call(
        app, lambda: f"{current_user.degraded} {api.get('whoami').status_code}", backend, user=True
    )
    backend.fault("auth/me", status=401)
    backend.fault("auth/refresh", status=500)
    answer = browser.fetch("/page")
    assert answer.text == "True 503"
    assert set_cookies(answer) == {}
    assert backend.calls("GET whoami") == 0


# B5.2, B11.1
def test_a_guest_that_cannot_be_minted_raises_nothing(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend, guest_enabled=True)
    browser = serve_call(app, lambda: str(api.get("whoami").status_code), backend, user=False)
    backend.fault("auth/guest", status=500)
    answer = browser.fetch("/page")
    assert answer.status_code == 200
    assert answer.text in ("401", "503")
    assert set_cookies(answer) == {}
    assert backend.calls() == {"POST auth/guest": 1}


# B11.1: as what a view returns
@pytest.mark.parametrize("status", [200, 201, 400, 404, 422, 500])
def test_a_view_may_return_it(status: int, app: Flask, backend: ShopBackend) -> None:
    browser = serve_call(app, lambda: api.get(f"status/{status}"), backend, user=False)
    answer = browser.fetch("/page")
    assert answer.status_code == status
    assert answer.get_json()["message"] == f"You asked for {status}."
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# B11.1, B7.4
def test_a_returned_answer_carries_the_harmless_headers_only(app: Flask, backend: ShopBackend) -> None:
    answer = serve_call(app, lambda: api.get("headers"), backend, user=False).fetch("/page")
    assert answer.headers["X-Total-Count"] == "12"
    assert answer.headers["ETag"] == '"shop-1"'
    for name in ("Set-Cookie", "Access-Control-Allow-Origin", "X-Accel-Redirect", "Link", "Server"):
        assert name not in answer.headers


# B11.1, B1.5
def test_a_returned_personal_answer_is_private(backend: ShopBackend, make_app: MakeApp) -> None:
    answer = serve_call(make_app(backend), lambda: api.get("headers"), backend, user=True).fetch("/page")
    assert_private(answer)


# B11.1: the client decodes, so the coding must not be promised again
def test_a_returned_compressed_answer_can_be_read(app: Flask, backend: ShopBackend) -> None:
    answer = serve_call(app, lambda: api.get("gzip"), backend, user=False).fetch("/page")
    assert "Content-Encoding" not in answer.headers
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    assert "compress me" in answer.get_json()["data"]["text"]


# B11.1: 204 as a view's answer
@pytest.mark.parametrize("status", [204, 304])
def test_a_returned_answer_without_a_body(status: int, app: Flask, backend: ShopBackend) -> None:
    answer = serve_call(app, lambda: api.get(f"status/{status}"), backend, user=False).fetch("/page")
    assert (answer.status_code, answer.data) == (status, b"")


# B11.1, B1.1
def test_returned_trouble_is_a_problem(backend: ShopBackend, make_app: MakeApp) -> None:
    app = make_app(backend)
    app.add_url_rule("/slow", endpoint="slow", view_func=lambda: api.get("echo", timeout=0.2))
    browser = serve_call(app, lambda: api.get("whoami"), backend, user=False)
    assert_problem(browser.fetch("/page"), 401, "login_required")
    browser.log_in()
    backend.fault("echo", mode="hang")
    answer = browser.fetch("/slow")
    assert_problem(answer, 504, "backend_timeout")
    assert "127.0.0.1" not in answer.text


# B1.4: a navigation to a view that returns a 401 of ours
def test_a_returned_401_without_a_call_leads_to_the_login(backend: ShopBackend, make_app: MakeApp) -> None:
    browser = serve_call(make_app(backend), lambda: api.get("whoami"), backend, user=False)
    answer = browser.client.get("/page?x=1", headers=NAVIGATION)
    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, "/login")


# B7.4: HTML of the backend from our origin
def test_a_returned_page_of_the_backend_is_sandboxed(app: Flask, backend: ShopBackend) -> None:
    browser = serve_call(app, lambda: api.get("echo"), backend, user=False)
    backend.fault("echo", mode="html", status=503)
    answer = browser.fetch("/page")
    assert answer.mimetype == "text/html"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.fixture
def layer(backend: ShopBackend) -> Iterator[tuple[Flask, ApiLayer]]:
    app = Flask("shop")
    app.config["SECRET_KEY"] = "a key for tests, long enough"
    layer = ApiLayer(app, backend_url=backend.base_url, store_url="memory://")
    yield app, layer
    app.extensions["api_layer"].transport.close()


# B11.5
def test_a_job_calls_with_a_token_of_its_own(layer: tuple[Flask, ApiLayer], backend: ShopBackend) -> None:
    app, extension = layer
    with app.app_context():
        minted = extension.client_for("none").post("auth/guest", auth=False).data
        client = extension.client_for(minted["accessToken"])
        assert client.get("whoami").data["mark"] == minted["user"]["id"]
    assert backend.calls() == {"POST auth/guest": 1, "GET whoami": 1}


# B11.5: there is no session that could be refreshed
def test_a_job_is_told_of_a_401(layer: tuple[Flask, ApiLayer], backend: ShopBackend) -> None:
    app, extension = layer
    with app.app_context():
        answer = extension.client_for("expired").get("whoami")
    assert (answer.ok, answer.status_code) == (False, 401)
    assert backend.calls() == {"GET whoami": 1}


# DESIGN: no token in an error or a repr
def test_no_token_shows_in_a_repr(layer: tuple[Flask, ApiLayer]) -> None:
    app, extension = layer
    with app.app_context():
        client = extension.client_for("s3cret-token")
        answer = client.get("whoami")
    assert "s3cret-token" not in repr(client) + repr(answer) + repr(answer.error) + str(answer.error)


# B11.5
def test_api_needs_a_request(layer: tuple[Flask, ApiLayer]) -> None:
    with pytest.raises(RuntimeError), layer[0].app_context():
        api.get("echo")


# B4.9
def test_two_users_in_one_process_keep_their_tokens(start_backend: StartBackend, make_app: MakeApp) -> None:
    backend = start_backend()
    app = make_app(backend)
    ada = serve_call(app, lambda: api.get("whoami").data["mark"], backend, user=True)
    admin = Browser(app)
    admin.log_in("admin@example.com")
    assert [browser.fetch("/page").text for browser in (ada, admin, ada)] == [
        "usr_ada",
        "usr_admin",
        "usr_ada",
    ]
