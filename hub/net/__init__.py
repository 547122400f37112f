"""Connections: the listener, TLS, wires, clients behind proxies, and the addresses in links."""
