"""The whole surface of the service: every route of every module, in one list.

Routes, authorisation, the OpenAPI document and the tests of coverage all follow from it.
"""

from vmkiln.api import (
    image_templates,
    operations,
    providers,
    resource_groups,
    runs,
    subscriptions,
    token_endpoint,
    triggers,
)
from vmkiln.api.route import Route

ALL_ROUTES: tuple[Route, ...] = (
    *image_templates.ROUTES,
    *runs.ROUTES,
    *triggers.ROUTES,
    *operations.ROUTES,
    *subscriptions.ROUTES,
    *resource_groups.ROUTES,
    *providers.ROUTES,
    *token_endpoint.ROUTES,
)
