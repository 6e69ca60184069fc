"""A shop that runs: a storefront (Flask and flask-api-layer) in front of a JWT backend."""
