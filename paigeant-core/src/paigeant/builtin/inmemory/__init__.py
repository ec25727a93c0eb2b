"""Queues and entries in the memory of this process: for tests, trials and single-process use."""
