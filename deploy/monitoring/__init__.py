"""Monitoring: the stack that watches an environment, on each of its hosts, next to the app."""
