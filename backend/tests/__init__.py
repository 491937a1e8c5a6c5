"""Test the app against a real PostgreSQL and a real Redis."""
