"""Fixtures of the portal's tests: the service of the API's tests, with its pages in front."""

import pytest
from in_process import InProcess
from page_visitor import Visitor
from service_fixtures import access, living, no_loop_waits

from vmkiln.portal.application import with_portal

__all__ = ["access", "living", "no_loop_waits"]


@pytest.fixture
def browser(living: InProcess) -> Visitor:
    """A browser of the subscription's owner."""
    return Visitor(with_portal(living.app))
