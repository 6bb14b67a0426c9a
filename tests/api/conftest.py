"""Fixtures of the tests of the API."""

from service_fixtures import access, living, service

__all__ = ["access", "living", "service"]
