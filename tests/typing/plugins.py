"""Checked by mypy and pyright, never run: the built-in plugin modules match the hooks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from paigeant.builtin.hs256 import plugin as hs256
from paigeant.builtin.inmemory import plugin as inmemory
from paigeant.plugins import SignerPlugin, StateStorePlugin, TransportPlugin


class Transports(Protocol):
    def paigeant_transports(self) -> Iterable[TransportPlugin[Any]]: ...


class StateStores(Protocol):
    def paigeant_state_stores(self) -> Iterable[StateStorePlugin[Any]]: ...


class Signers(Protocol):
    def paigeant_signers(self) -> Iterable[SignerPlugin[Any]]: ...


transports: list[Transports] = [inmemory]
stores: list[StateStores] = [inmemory]
signers: list[Signers] = [hs256]
