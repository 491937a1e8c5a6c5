"""Backups: recovery points of an environment's data, which count once they have been restored."""
