"""One module per target: ``check(data)`` raises AssertionError when its law is broken."""
