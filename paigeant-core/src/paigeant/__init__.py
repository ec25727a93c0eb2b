"""Durable workflow orchestration for AI agents, over the message broker you already run."""
