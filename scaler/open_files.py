"""Open files: each client's connection is one, and the upstream's that it may need is another.

Where they run out, nobody can connect any more, and the control loop cannot speak with the provider. So as many are asked for as the
configuration may need, and where the system does not give them, the request path takes fewer connections.
"""

import resource
from math import ceil

import structlog

from scaler.proxy_settings import ProxySettings

log = structlog.get_logger(__name__)

FILES_PER_CONNECTION = 2
SPARE_FILES = 256
"""For the admin server, which takes 128 clients at most, the store, the provider, links to workers and whatever libraries open."""


def fitting(settings: ProxySettings) -> ProxySettings:
    """The settings with no more connections than this process, or each of its workers, has files for; where that is fewer, it is told."""
    per_process = ceil(settings.max_connections / settings.workers)
    wanted = FILES_PER_CONNECTION * per_process + SPARE_FILES
    allowed = _raised_limit(wanted)
    if allowed >= wanted:
        return settings
    most = max(1, (allowed - SPARE_FILES) // FILES_PER_CONNECTION) * settings.workers
    tell = log.warning if "max_connections" in settings.model_fields_set else log.info  # the default is a most, which nobody asked for
    mend = f"raise the hard limit of open files to {wanted}: ulimit -n, LimitNOFILE= of systemd or --ulimit nofile= of docker"
    tell("fewer connections are taken than proxy.max_connections", max_connections=most, open_files=allowed, needed=wanted, mend=mend)
    return settings.model_copy(update={"max_connections": most})


def _raised_limit(wanted: int) -> int:
    """How many files may be open, up to ``wanted``: the soft limit is often 1,024 where the hard one allows far more."""
    soft, hard = (wanted if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    highest = min(wanted, hard)
    if soft < highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return max(soft, highest)
