"""The whole surface of the service: every route of every module, in one list.

Routes, authorisation, the OpenAPI document and the tests of coverage all follow from it.
"""

from vmkiln.api import (
    compute_images,
    deployments,
    directory,
    image_templates,
    managed_identities,
    metrics,
    openapi,
    operations,
    past_runs,
    providers,
    resource_groups,
    role_assignments,
    role_definitions,
    runs,
    security_rules,
    staging_resources,
    storage_accounts,
    subscriptions,
    token_endpoint,
    triggers,
    virtual_networks,
)
from vmkiln.api.route import Route

ALL_ROUTES: tuple[Route, ...] = (
    *image_templates.ROUTES,
    *runs.ROUTES,
    *past_runs.ROUTES,
    *triggers.ROUTES,
    *operations.ROUTES,
    *subscriptions.ROUTES,
    *resource_groups.ROUTES,
    *providers.ROUTES,
    *deployments.ROUTES,
    *compute_images.ROUTES,
    *managed_identities.ROUTES,
    *virtual_networks.ROUTES,
    *security_rules.ROUTES,
    *role_definitions.ROUTES,
    *role_assignments.ROUTES,
    *directory.ROUTES,
    *staging_resources.ROUTES,
    *storage_accounts.ROUTES,
    *token_endpoint.ROUTES,
    *openapi.ROUTES,
    *metrics.ROUTES,
)
