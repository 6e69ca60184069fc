"""Put a Flask app in front of a JWT API: sealed httpOnly cookies, guests, role-gated views and a proxy."""

from .backends import Backend, Request
from .callbacks import ProxyAnswer, ProxyCall
from .client import ApiClient, ApiResponse
from .config import Config
from .decorators import csrf_exempt, guest_allowed, login_required, public, rate_limit
from .errors import (
    AccessDenied,
    ApiError,
    ApiLayerError,
    BackendTimeout,
    BackendUnavailable,
    BadGateway,
    ConfigError,
    Denial,
    HttpError,
    LoginRequired,
    NetworkError,
    RateLimited,
    RequestTimeout,
    StoreDown,
)
from .extension import ApiLayer
from .globals import api, csrf_field, csrf_token, current_user
from .sansio.identity import Identity
from .sansio.session import Session, TokenSet
from .types import Store

__all__ = [
    "AccessDenied",
    "ApiClient",
    "ApiError",
    "ApiLayer",
    "ApiLayerError",
    "ApiResponse",
    "Backend",
    "BackendTimeout",
    "BackendUnavailable",
    "BadGateway",
    "Config",
    "ConfigError",
    "Denial",
    "HttpError",
    "Identity",
    "LoginRequired",
    "NetworkError",
    "ProxyAnswer",
    "ProxyCall",
    "RateLimited",
    "Request",
    "RequestTimeout",
    "Session",
    "Store",
    "StoreDown",
    "TokenSet",
    "api",
    "csrf_exempt",
    "csrf_field",
    "csrf_token",
    "current_user",
    "guest_allowed",
    "login_required",
    "public",
    "rate_limit",
]
