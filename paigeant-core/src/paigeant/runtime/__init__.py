"""Dispatcher, worker, client, sweeper: the only place that drives a transport."""
