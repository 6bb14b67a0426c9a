"""The bounds of a run's flows as rules, and what an operator may set of them."""

from pathlib import Path

import pytest

from vmkiln.errors import InputError
from vmkiln.host.network.flow_bounds import FlowBounds, bounds_of, leaving_rules, opening_rules, rate_rules
from vmkiln.setting_texts.servers import ports_of
from vmkiln.settings import Settings, checked_together


def test_what_the_operator_sets_is_what_the_rules_say() -> None:
    settings = Settings(
        Path("/x"),
        egress_closed_ports="465, 25,587,25",
        egress_flows_a_second=7,
        egress_flows_at_once=70,
        egress_udp_flows_at_once=9,
        egress_kbytes_a_second=5000,
    )
    bounds = bounds_of(settings)
    assert "tcp dport { 25, 465, 587 }" in leaving_rules(bounds, "build", "egress")
    assert "udp ct count over 9 " in leaving_rules(bounds, "build", "egress")
    opening = opening_rules(bounds, near="container", far="build").splitlines()
    assert "limit rate over 7/second burst 35 " in opening[0]
    assert "ct count over 70 " in opening[1]
    assert [line.split()[1] for line in opening] == ['"build"'] * 2 + ['"container"'] * 2
    assert rate_rules(bounds, "build", "egress").count("rate over 5000 kbytes/second burst 500 kbytes") == 2


def test_by_default_mail_is_closed_as_on_azure_and_bytes_are_not_bounded() -> None:
    bounds = bounds_of(Settings(Path("/x")))
    assert bounds == FlowBounds()
    assert bounds.closed_ports == (25,)
    assert rate_rules(bounds, "build", "egress") == ""


def test_no_port_may_be_closed() -> None:
    assert "dport" not in leaving_rules(FlowBounds(closed_ports=()), "build", "egress")
    assert ports_of("") == ()


@pytest.mark.parametrize("text", ["smtp", "0", "65536", "25;465", "25-30", "-1", "٢٥"])
def test_what_is_no_port_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match="VMKILN_EGRESS_CLOSED_PORTS"):
        checked_together(Settings(Path("/x"), egress_closed_ports=text))
