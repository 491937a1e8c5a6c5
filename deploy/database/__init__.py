"""The database's schema: which code can work on it."""
