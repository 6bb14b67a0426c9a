"""Resources of an older database are added up with the new ones."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from postgresql import cluster

from vmkiln.store.database import opened, utc_now
from vmkiln.store.engine import connected
from vmkiln.store.rows import ResourceRow
from vmkiln.store.tables import resources

GROUP = "/subscriptions/s/resourceGroups/g"


def sizes(place: Path | str, *, before: str) -> tuple[list[int], list[int]]:
    """What rows take as they were written, and as an upgrade from `before` finds it."""
    with opened(place) as store:
        for number in range(3):
            name = f"t{number}"
            body = {"text": "\u00e4" * 100 * number, "list": [1, None, {"a": 1.5}]}
            row = ResourceRow(f"{GROUP}/providers/M.X/things/{name}", "M.X/things", name, "s", "g", properties=body)
            store.resources.put(row if number else ResourceRow(**{**vars(row), "identity": {"type": "None"}}))
        query = sa.select(resources.c.size_bytes).order_by(resources.c.key)
        with store.connections.reading() as connection:
            written = list(connection.execute(query).scalars())
    connections = connected(place, utc_now)
    config = Config()
    config.set_main_option("script_location", "vmkiln.store:migrations")
    with connections.begin() as connection:
        for index in ("vmkiln_resource_by_size", "vmkiln_operation_by_start"):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        connection.exec_driver_sql("ALTER TABLE vmkiln_resource DROP COLUMN size_bytes")
        config.attributes["connection"] = connection
        command.stamp(config, before)
        command.upgrade(config, "0023")  # and no further: what came behind it is there
    with connections.reading() as connection:
        found = list(connection.execute(query).scalars())
    connections.close()
    return written, found


def test_an_upgrade_adds_up_what_is_there(tmp_path: Path) -> None:
    with cluster() as server:
        for place in (tmp_path / "db", server.new_database()):
            written, found = sizes(place, before="0021")
            assert found == written
            assert written[2] > written[1] + 500
