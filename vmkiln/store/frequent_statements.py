"""Statements that a run asks for again and again, built once: to build one costs as much as to execute it.

Source: SQLAlchemy, "SQL Compilation Caching" (a statement's cache key is kept with it).
"""

import sqlalchemy as sa

from vmkiln.store.tables import phases, reservations, runs, staging_resources

_run: sa.BindParameter[str] = sa.bindparam("of_run")
_resource: sa.BindParameter[int] = sa.bindparam("of_number")

RUNS_BY_ID = sa.select(runs).where(runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)))
FACTS = sa.select(runs.c.facts).where(runs.c.run_id == _run)
NEW_FACTS = runs.update().where(runs.c.run_id == _run).values(facts=sa.bindparam("new_facts", type_=sa.JSON))

PHASE_ENDED = phases.update().where(phases.c.run_id == _run, phases.c.ended.is_(None)).values(ended=sa.bindparam("now"))
PHASE_COUNT = sa.select(sa.func.count()).select_from(phases).where(phases.c.run_id == _run)
PHASE_BEGUN = phases.insert()
RUN_IN_PHASE = runs.update().where(runs.c.run_id == _run).values(sub_state=sa.bindparam("phase"))

RESOURCE_ADDED = staging_resources.insert()
RESOURCE_EXISTS = staging_resources.update().where(staging_resources.c.number == _resource).values(state="exists")
RESOURCE_DELETED = (
    staging_resources.update()
    .where(staging_resources.c.number == _resource)
    .values(state="deleted", deleted=sa.bindparam("now"))
)

PLACED = sa.select(
    reservations.c.run_id, reservations.c.attempt, reservations.c.boot, runs.c.state, runs.c.template_id
).join(runs, runs.c.run_id == reservations.c.run_id)
PLACED_ON = PLACED.where(reservations.c.boot == sa.bindparam("of_boot"))
