"""Which variables of our environment a program gets: an allow-list, for a list of secrets is never whole.

The service's environment has the database's password and the keys of object stores. A program that is broken into, or
that prints its environment, must not have them.
"""

from collections.abc import Mapping

ORDINARY = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "COLUMNS", "LINES"}
)
LOCALE = "LC_"
# what programs that fetch packages need behind a proxy, and where the network has a certificate authority of its own
PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"})
FETCHING = frozenset({"APT_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"})
NPM = "npm_config_"


def ordinary(environment: Mapping[str, str]) -> dict[str, str]:
    """What every program may see: where programs are, whose home it is, language and terminal; pure."""
    return {name: value for name, value in environment.items() if name in ORDINARY or name.startswith(LOCALE)}


def proxied(environment: Mapping[str, str]) -> dict[str, str]:
    """What fetching takes where the network has proxies or certificate authorities of its own, and no more; pure."""
    return {name: value for name, value in environment.items() if name.lower() in PROXIES or name in FETCHING}


def for_fetching(environment: Mapping[str, str]) -> dict[str, str]:
    """What a program that fetches packages may see; pure."""
    return ordinary(environment) | proxied(environment)


def for_npm(environment: Mapping[str, str]) -> dict[str, str]:
    """What npm may see: its settings too, which may have the tokens of a registry; pure."""
    settings = {name: value for name, value in environment.items() if name.lower().startswith(NPM)}
    return for_fetching(environment) | settings
