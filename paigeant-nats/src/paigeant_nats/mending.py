"""Looking after the consumers on the server: they may be gone with its data, or have moved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection

from paigeant.errors import BackendError, ConfigurationError

from .aio import end
from .link import log
from .pulls import Source
from .session import Session

_PAUSE = 0.5
"""Seconds between attempts, and for a consumer that is lost again as soon as it is found."""


class Mending:
    """Mends the lost sources of a receiver, in the background: the others are received from meanwhile.

    :param declare: makes or checks the consumer of a queue, and tells how many messages it may be asked for.
    :param news: called when there is something to ask for again, or an error to be told.
    """

    def __init__(
        self,
        session: Session,
        sources: Collection[Source],
        declare: Callable[[str], Awaitable[int]],
        news: Callable[[], None],
    ) -> None:
        self._session, self._sources, self._declare, self._news = session, sources, declare, news
        self._task: asyncio.Task[None] | None = None
        self._unfit: ConfigurationError | None = None

    def start(self) -> None:
        """Begin, if something is lost and nobody is at it."""
        if self._task is None and any(source.lost for source in self._sources):
            self._task = asyncio.create_task(self._mend())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            await end(self._task)

    def check(self) -> None:
        """Raise, once, what only an operator can mend."""
        unfit, self._unfit = self._unfit, None
        if unfit is not None:
            raise unfit

    async def _mend(self) -> None:
        try:
            await self._session.restored()
            ends = await asyncio.gather(*(self._mend_one(each) for each in self._sources if each.lost))
            if not all(ends):
                await asyncio.sleep(_PAUSE)
        finally:
            self._task = None
            self._news()

    async def _mend_one(self, source: Source) -> bool:
        try:
            source.most = await self._declare(source.name)
        except ConfigurationError as exc:
            self._unfit = exc
        except BackendError as exc:
            log.warning("receiving from %r is interrupted: %s", source.name, exc)
        else:
            now = time.monotonic()
            well, source.lost, source.mended_at = now > source.mended_at + _PAUSE, False, now
            self._news()
            return well  # or it was lost again at once
        return False
