"""An ARM deployment template: find its one image template and evaluate the expressions in it."""

from collections.abc import Mapping
from typing import Any


def is_deployment_template(document: Mapping[str, Any]) -> bool:
    """Whether the document is a deployment, and not the body of a resource."""
    return "resources" in {name.lower() for name in document}
