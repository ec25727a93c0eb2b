"""Onboarding of a customer: three activities, and a worker that serves them.

Run a worker by itself with ``python activities.py``, in any directory, as often as you like.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import BaseModel

from paigeant import ActivityContext, PermanentFault, RetryPolicy, Worker, activity, get_transport

ACCOUNTS, OUTBOX = Path("accounts"), Path("outbox")


class Account(BaseModel):
    id: UUID
    email: str
    plan: str


@activity("validate-input")
async def validate_input(email: str) -> str:
    """The address in its usual form. No attempt can mend a wrong one, so that fault is permanent."""
    name, at, domain = email.strip().lower().partition("@")
    if not (name and at and "." in domain):
        raise PermanentFault(f"{email!r} is not an e-mail address")
    return f"{name}@{domain}"


@activity("create-account", retry=RetryPolicy(attempts=5), timeout=timedelta(minutes=5))
async def create_account(ctx: ActivityContext, email: str, plan: str = "free") -> Account:
    """Every attempt has the same idempotency key, so a second one finds the account of the first."""
    account = Account(id=uuid5(NAMESPACE_URL, ctx.idempotency_key), email=email, plan=plan)
    await ctx.register_compensation(account_id=account.id)  # durable before the effect
    await asyncio.to_thread(save, account)
    await asyncio.sleep(2)  # the rest of the set-up is slow: a worker may well die here
    return account


def save(account: Account) -> None:
    ACCOUNTS.mkdir(exist_ok=True)
    (ACCOUNTS / f"{account.id}.json").write_text(account.model_dump_json())


@create_account.compensate
def delete_account(account_id: UUID) -> None:
    (ACCOUNTS / f"{account_id}.json").unlink(missing_ok=True)


@activity("send-notification")
def send_notification(account: Account) -> str:
    """A plain function: it runs in a thread and may block."""
    OUTBOX.mkdir(exist_ok=True)
    (OUTBOX / f"{account.id}.txt").write_text(f"Welcome, {account.email}: your plan is {account.plan}.\n")
    return f"sent to {account.email}"


if __name__ == "__main__":
    Worker(get_transport(), [validate_input, create_account, send_notification]).run_sync()
