"""The whole surface of the service: every route of every module, in one list.

Routes, authorisation, the OpenAPI document and the tests of coverage all follow from it.
"""

from vmkiln.api.about import metrics, openapi
from vmkiln.api.authorization import locks, role_assignments, role_definitions
from vmkiln.api.builds import all_images, all_runs, hosts, local_groups, permissions, sources
from vmkiln.api.compute import compute_images, image_provenance, image_versions, platform_images, vm_sizes
from vmkiln.api.entra import directory, provider_logins, sessions, token_endpoint
from vmkiln.api.insights import activity_log
from vmkiln.api.managed_identity import managed_identities
from vmkiln.api.network import security_rules, virtual_networks
from vmkiln.api.protocol import health, operations
from vmkiln.api.protocol.route import Route
from vmkiln.api.resources import (
    deployment_scripts,
    deployments,
    empty_lists,
    features,
    providers,
    resource_groups,
    resource_tags,
    subscriptions,
)
from vmkiln.api.staging import staging_resources, used_by_machines
from vmkiln.api.storage import containers, storage_accounts
from vmkiln.api.virtual_machine_images import (
    image_templates,
    past_runs,
    plans,
    run_logs,
    run_pictures,
    run_shells,
    runs,
    triggers,
)
from vmkiln.api.whole_groups import group_export, group_move

ALL_ROUTES: tuple[Route, ...] = (
    *image_templates.ROUTES,
    *runs.ROUTES,
    *past_runs.ROUTES,
    *plans.ROUTES,
    *run_logs.ROUTES,
    *run_pictures.ROUTES,
    *run_shells.ROUTES,
    *triggers.ROUTES,
    *all_runs.ROUTES,
    *all_images.ROUTES,
    *local_groups.ROUTES,
    *hosts.ROUTES,
    *sources.ROUTES,
    *permissions.ROUTES,
    *operations.ROUTES,
    *subscriptions.ROUTES,
    *resource_groups.ROUTES,
    *group_export.ROUTES,
    *group_move.ROUTES,
    *providers.ROUTES,
    *features.ROUTES,
    *resource_tags.ROUTES,
    *empty_lists.ROUTES,
    *deployments.ROUTES,
    *deployment_scripts.ROUTES,
    *compute_images.ROUTES,
    *image_versions.ROUTES,
    *image_provenance.ROUTES,
    *platform_images.ROUTES,
    *vm_sizes.ROUTES,
    *managed_identities.ROUTES,
    *virtual_networks.ROUTES,
    *security_rules.ROUTES,
    *role_definitions.ROUTES,
    *role_assignments.ROUTES,
    *locks.ROUTES,
    *directory.ROUTES,
    *staging_resources.ROUTES,
    *used_by_machines.ROUTES,
    *storage_accounts.ROUTES,
    *containers.ROUTES,
    *activity_log.ROUTES,
    *token_endpoint.ROUTES,
    *sessions.ROUTES,
    *provider_logins.ROUTES,
    *openapi.ROUTES,
    *health.ROUTES,
    *metrics.ROUTES,
)
