"""What an operator should know of a Redis."""

from __future__ import annotations

from paigeant.model.finding import Finding

from .server import Server


async def diagnose(server: Server) -> list[Finding]:
    """Look at the server; reads only."""
    await server.now()
    return []
