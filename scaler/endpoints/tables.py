"""How endpoints and hardware look on a terminal."""

from collections.abc import Iterable

from rich.table import Table

from scaler.model import Endpoint
from scaler.providers.base import EndpointSummary, Hardware


def details(endpoint: Endpoint) -> Table:
    """One endpoint, a line per field; what the provider does not tell is left out."""
    table = Table.grid(padding=(0, 2))
    ready = "" if endpoint.ready_replicas is None else f"{endpoint.ready_replicas} ready"
    timeout = "" if endpoint.inactive_timeout_minutes is None else f"{endpoint.inactive_timeout_minutes} min"
    fields = {
        "ID": endpoint.id,
        "Name": endpoint.name,
        "Display Name": endpoint.display_name,
        "Hardware": endpoint.hardware,
        "Autoscaling": f"Min={endpoint.bounds.min_replicas}, Max={endpoint.bounds.max_replicas}",
        "Replicas": ready,
        "Inactive Timeout": timeout,
        "Model": endpoint.model,
        "Owner": endpoint.owner,
        "State": endpoint.state.value,
        "Message": endpoint.message,
        "Created": endpoint.created_at,
    }
    for name, value in fields.items():
        if value:
            table.add_row(f"{name}:", value)
    return table


def summaries(endpoints: Iterable[EndpointSummary]) -> Table:
    """A row per endpoint."""
    table = _table("ID", "Name", "Model", "Type", "Owner", "State", "Created")
    for endpoint in endpoints:
        table.add_row(endpoint.id, endpoint.name, endpoint.model, endpoint.type, endpoint.owner, endpoint.state.value, endpoint.created_at)
    return table


def hardware(catalog: Iterable[Hardware]) -> Table:
    """A row per configuration; the price is that of one replica with all its GPUs."""
    table = _table("Hardware ID", "GPU", "Count", "Memory", "Link", "$/hour per replica", "Availability")
    for item in catalog:
        specs = item.specs
        parts = (specs.gpu, str(specs.count), f"{specs.memory_gb:g} GB", specs.link) if specs else ("", "", "", "")
        table.add_row(item.id, *parts, f"{item.price.cents_per_minute * 60 / 100:.2f}", item.availability.value)
    return table


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
