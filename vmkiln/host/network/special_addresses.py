"""Addresses that are not the Internet's: one list, for what build VMs may reach and for what the service fetches; pure.

Sources: RFC 6890 and the special-purpose registries of IANA for IPv4 and IPv6; RFC 6052 (64:ff9b::/96 stands for IPv4
addresses); RFC 4380 (Teredo) and RFC 3056 (6to4), which lead to IPv4 addresses that are somebody else's choice.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
AnyNetwork = IPv4Network | IPv6Network
# The registry (RFC 6890) without what it calls globally reachable and without the documentation ranges; multicast; and
# the address that clouds reserve for their host agent
FORBIDDEN_NETWORKS = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# where nobody serves anything (RFC 5737): a fetch would only wait
UNUSED_NETWORKS = tuple(IPv4Network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"))
GLOBAL_IPV6 = IPv6Network("2000::/3")  # all that was given out for the Internet; mapped and compatible lie outside
FORBIDDEN_IPV6 = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)  # the first has Teredo
TRANSLATED_IPV4 = IPv6Network("64:ff9b::/96")
# what tells a cloud's virtual machine who it is, and gives it keys: also over IPv6, as each cloud documents its own
METADATA_NETWORKS: tuple[AnyNetwork, ...] = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",
        "168.63.129.16/32",
        "100.100.100.200/32",  # Alibaba
        "fd00:100::100:200/128",
        "192.0.0.192/32",  # Oracle
        "fd00:c1::a9fe:a9fe/128",
        "fd00:ec2::/32",  # Amazon
        "fd20:ce::254/128",  # Google
        "fd00:42::42/128",  # Scaleway
        "fd00:a9fe:a9fe::1/128",  # Akamai
        "fe80::a9fe:a9fe/128",  # OpenStack
    )
)


def is_of_the_internet(address: Address) -> bool:
    """Whether an address is one that anybody on the Internet could be at."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in (*FORBIDDEN_NETWORKS, *UNUSED_NETWORKS))
    if address in TRANSLATED_IPV4:
        return is_of_the_internet(plain(address))
    return address in GLOBAL_IPV6 and not any(address in network for network in FORBIDDEN_IPV6)


def is_metadata(address: Address) -> bool:
    """Whether a cloud's metadata service is there, however the address is written."""
    return any(one in network for one in (address, plain(address)) for network in METADATA_NETWORKS)


def plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, compatible, translated), else the address itself."""
    if isinstance(address, IPv6Address):
        last = IPv4Address(int(address) & 0xFFFFFFFF)
        if address.ipv4_mapped or address in TRANSLATED_IPV4:
            return last
        if int(address) >> 32 == 0 and int(address) > 1:
            return last
    return address
