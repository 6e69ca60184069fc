"""The rules, as pure functions: values in, decision out. No Flask, no sockets, no clock, no randomness."""
