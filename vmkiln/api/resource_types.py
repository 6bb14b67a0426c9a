"""The whole surface of the service: every route of every module, in one list.

Routes, authorisation, the OpenAPI document and the tests of coverage all follow from it.
"""

from vmkiln.api import operations
from vmkiln.api.route import Route

ALL_ROUTES: tuple[Route, ...] = (*operations.ROUTES,)
