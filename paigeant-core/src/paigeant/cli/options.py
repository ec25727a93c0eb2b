"""Options that several commands have in common."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
TransportName: TypeAlias = Annotated[
    str | None,
    typer.Option("--transport", help="Name, name:instance or URL; default PAIGEANT_TRANSPORT.", show_default=False),
]
Namespace: TypeAlias = Annotated[
    str | None, typer.Option("--namespace", help="Default PAIGEANT_NAMESPACE.", show_default=False)
]
Limit: TypeAlias = Annotated[int, typer.Option("--limit", min=1, help="Show at most this many.")]
