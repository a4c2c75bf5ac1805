"""Decide whether what is said to the brokers could be read on the way."""

from collections.abc import Mapping
from ipaddress import ip_address

_ENCRYPTED = {"ssl", "sasl_ssl"}


def exposed(bootstrap_servers: str, properties: Mapping[str, str]) -> str | None:
    """The first of the servers beyond this machine, if what is said to them is not encrypted.

    >>> exposed("127.0.0.1:9092,broker-1:9092", {})
    'broker-1:9092'
    >>> exposed("broker-1:9093", {"security.protocol": "SASL_SSL"})
    """
    if properties.get("security.protocol", "plaintext").lower() in _ENCRYPTED:
        return None
    servers = (server.strip().rpartition("://")[2] for server in bootstrap_servers.split(","))
    return next((server for server in servers if server and not _is_loopback(server)), None)


def _is_loopback(server: str) -> bool:
    host = server[1 : server.index("]")] if server.startswith("[") and "]" in server else server.rpartition(":")[0]
    host = host or server
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
