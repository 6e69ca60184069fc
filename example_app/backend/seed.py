"""What the shop holds on its first day."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

from werkzeug.security import generate_password_hash

from .database import connect, transaction

DEMO_PASSWORD = "demo-password"

# The backend has no pictures: `image` names a drawing, and a storefront has one for each of these.
IMAGE_KEYS = (
    "mug",
    "teapot",
    "kettle",
    "mills",
    "notebook",
    "pen",
    "lamp",
    "backpack",
    "bottle",
    "compass",
    "blanket",
    "candle",
)

CATEGORIES = (("kitchen", "Kitchen"), ("desk", "Desk"), ("outdoors", "Outdoors"), ("home", "Home"))

# name, description, price in cents, stock, category, image
PRODUCTS = (
    (
        "Enamel mug",
        "A light steel mug with a hand-dipped enamel coat. It survives campfires, dishwashers and Mondays.",
        1400,
        240,
        "kitchen",
        "mug",
    ),
    (
        "Stoneware teapot",
        "Thrown by hand and fired twice, it keeps four cups warm for an hour. The spout does not drip.",
        3900,
        80,
        "kitchen",
        "teapot",
    ),
    (
        "Pour-over kettle",
        "A gooseneck kettle with a thermometer in its lid. The long spout puts water exactly where you want it.",
        6900,
        60,
        "kitchen",
        "kettle",
    ),
    (
        "Salt & pepper mills",
        "A pair of beech mills with ceramic burrs. One turn at the base goes from dust to coarse.",
        4200,
        90,
        "kitchen",
        "mills",
    ),
    (
        "Dot-grid notebook",
        "192 numbered pages of ink-proof paper, stitched so that they lie flat. Two ribbons mark your place.",
        1250,
        400,
        "desk",
        "notebook",
    ),
    (
        "Brass fountain pen",
        "Turned from solid brass, it grows its own patina. The fine steel nib can be changed without tools.",
        5400,
        70,
        "desk",
        "pen",
    ),
    (
        "Reading lamp",
        "A dimmable lamp on a jointed oak arm. Its warm light falls on the page and nowhere else.",
        7600,
        45,
        "desk",
        "lamp",
    ),
    (
        "Canvas backpack",
        "Twenty litres of waxed canvas with a padded sleeve for a laptop. Every seam is mended free of charge.",
        9800,
        55,
        "outdoors",
        "backpack",
    ),
    (
        "Steel water bottle",
        "Double walls keep water cold for a day and tea hot for a morning. The cap is a cup.",
        2600,
        180,
        "outdoors",
        "bottle",
    ),
    (
        "Pocket compass",
        "A liquid-filled compass in a lidded case. It needs no battery and no signal.",
        3100,
        3,
        "outdoors",
        "compass",
    ),
    (
        "Shepherd's wool blanket",
        "Woven from undyed wool, in the colours that the sheep had. It is heavy enough for open windows.",
        8900,
        35,
        "home",
        "blanket",
    ),
    (
        "Beeswax candle",
        "Poured slowly from pure beeswax, it burns for forty hours. The jar becomes a glass afterwards.",
        1800,
        300,
        "home",
        "candle",
    ),
)

# id, name, email, role
USERS = (
    ("usr_admin", "Admin", "admin@example.com", "admin"),
    ("usr_editor", "Edith Editor", "editor@example.com", "editor"),
    ("usr_ada", "Ada Lovelace", "ada@example.com", "user"),
)


def fill(path: Path, *, password_method: str) -> None:
    """Put products and demo users into a database that has none; leave any other as it is."""
    with closing(connect(path)) as connection, transaction(connection):
        if connection.execute("SELECT count(*) FROM category").fetchone()[0]:
            return
        _add_products(connection)
        _add_users(connection, password_method)


def _add_products(connection: Connection) -> None:
    categories = [(slug, name, position) for position, (slug, name) in enumerate(CATEGORIES)]
    connection.executemany("INSERT INTO category VALUES (?, ?, ?)", categories)
    connection.executemany(
        "INSERT INTO product (name, description, price_cents, stock, category, image) VALUES (?, ?, ?, ?, ?, ?)",
        PRODUCTS,
    )


def _add_users(connection: Connection, password_method: str) -> None:
    now = time.time()
    connection.executemany(
        "INSERT INTO account (id, type, name, email, password_hash, roles, created_at)"
        " VALUES (?, 'user', ?, ?, ?, ?, ?)",
        [
            (
                key,
                name,
                email,
                generate_password_hash(DEMO_PASSWORD, password_method),
                json.dumps([role]),
                now,
            )
            for key, name, email, role in USERS
        ],
    )
