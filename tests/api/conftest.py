"""Fixtures of the tests of the API."""

from service_fixtures import access, living, no_loop_waits, service

__all__ = ["access", "living", "no_loop_waits", "service"]
