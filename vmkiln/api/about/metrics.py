"""GET /metrics: queue, phases, capacity, failures and leftovers, as Prometheus reads them.

A reader of the whole service (role Reader at `/`) may ask; Prometheus sends a token as `authorization`.
Source: Prometheus, "Exposition formats" and "Metric and label naming".
"""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from vmkiln import __version__, process_log
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Call, Route, Service
from vmkiln.run_state import GOING_ON, RunState
from vmkiln.store.rows import HostRow, HostState, seconds_between

MIB = 1024**2


class _Collector:
    """Reads everything when it is asked."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        store, builder = self._service.store, self._service.builder
        yield _info()
        waiting = store.queue.waiting()  # the oldest first
        going_on = store.runs.list(limit=None, states=GOING_ON)
        states = GaugeMetricFamily("vmkiln_runs", "Runs that have not ended, by state.", labels=["state"])
        states.add_metric([RunState.QUEUED], len(waiting))
        for name in GOING_ON:
            states.add_metric([name], sum(run.state == name for run in going_on))
        yield states
        waited = seconds_between(waiting[0].started, self._service.now()) if waiting else 0
        yield GaugeMetricFamily("vmkiln_queue_oldest_seconds", "How long the oldest waiting run has waited.", waited)
        yield from self._room()
        hosts = GaugeMetricFamily("vmkiln_hosts", "Build hosts that are known, by state.", labels=["state"])
        now = store.hosts.now()
        rows = store.hosts.all()
        known = [host.state_at(now) for host in rows]
        for how in HostState:
            hosts.add_metric([how], known.count(how))
        yield hosts
        yield _unready([host for host in rows if not host.state_at(now).is_over])
        yield from self._audit()
        yield from self._notices()
        tally = builder.tally
        ended = CounterMetricFamily("vmkiln_runs_ended", "Runs that ended since the start.", labels=["state", "code"])
        for labels, count in sorted(tally.ended.items()):
            ended.add_metric(list(labels), count)
        yield ended
        phases = SummaryMetricFamily("vmkiln_phase_seconds", "How long phases took.", labels=["phase"])
        for phase, count in sorted(tally.phases.items()):
            phases.add_metric([phase], count_value=count, sum_value=tally.phase_seconds[phase])
        yield phases
        yield CounterMetricFamily("vmkiln_cleaned_up", "Dead runs that were cleaned up after.", value=tally.cleaned_up)
        yield GaugeMetricFamily("vmkiln_leftovers", "Things that could not be deleted; 0 is well.", tally.leftovers)
        yield from self._rounds()
        yield from _log()

    def _rounds(self) -> Iterator[Metric]:
        rounds = self._service.rounds
        text = "Rounds that failed since the start: what the service does again and again."
        failures = CounterMetricFamily("vmkiln_round_failures", text, labels=["round"])
        for name, count in rounds.failures().items():
            failures.add_metric([name], count)
        yield failures
        age = GaugeMetricFamily("vmkiln_round_age_seconds", "How long ago a round last ended well.", labels=["round"])
        for state in rounds.states():
            age.add_metric([state.name], state.good_ago)
        yield age

    def _audit(self) -> Iterator[Metric]:
        audit = self._service.audit
        yield GaugeMetricFamily("vmkiln_audit_waiting", "Acts that are not in the audit's table yet.", audit.waiting)
        lost = "Acts that are in the log only, not in the audit's table; 0 is well."
        yield CounterMetricFamily("vmkiln_audit_lost", lost, audit.lost)

    def _notices(self) -> Iterator[Metric]:
        text = "Notices of the last week by receiver: waiting, sent, or given up."
        notices = GaugeMetricFamily("vmkiln_notices", text, labels=["receiver", "state"])
        for (receiver, state), count in sorted(self._service.store.outbox.counts().items()):
            notices.add_metric([receiver, state], count)
        yield notices

    def _room(self) -> Iterator[Metric]:
        capacity, promised = self._service.builder.room()
        for name, text, has, given in (
            ("cpus", "CPUs", capacity.cpus, promised.cpus),
            ("memory_bytes", "Memory in bytes", capacity.memory_mib * MIB, promised.memory_mib * MIB),
            ("disk_bytes", "Disk in bytes", capacity.disk_mib * MIB, promised.disk_mib * MIB),
        ):
            yield GaugeMetricFamily(f"vmkiln_capacity_{name}", f"{text} that the live hosts have for runs.", has)
            yield GaugeMetricFamily(f"vmkiln_promised_{name}", f"{text} promised to runs that go on.", given)


def _unready(hosts: Sequence[HostRow]) -> Metric:
    text = "1 for a build host that gets no runs, for it cannot build now; the code says why."
    unready = GaugeMetricFamily("vmkiln_host_unready", text, labels=["host", "code"])
    for host in hosts:
        unready.add_metric([host.name, host.unready], 1 if host.unready else 0)
    return unready


def _log() -> Iterator[Metric]:
    lost = process_log.lost()
    text = "Lines of the log that standard error did not take, by kind; 0 is well."
    lines = CounterMetricFamily("vmkiln_log_lost", text, labels=["kind"])
    lines.add_metric(["audit"], lost.precious)
    lines.add_metric(["other"], lost.lines - lost.precious)
    yield lines


def _info() -> Metric:
    info = GaugeMetricFamily("vmkiln_info", "The version that runs.", labels=["version"])
    info.add_metric([__version__], 1)
    return info


def metrics(call: Call) -> Answer:
    """The numbers now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(call.service))
    return Answer(200, generate_latest(registry), {"Content-Type": CONTENT_TYPE_PLAIN_1_0_0})


ROUTES = (
    Route(
        "GET", "/metrics", "Metrics_Get", Permission.READ, metrics, needs_api_version=False, media_types=("text/plain",)
    ),
)
