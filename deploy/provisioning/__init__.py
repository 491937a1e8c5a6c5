"""Servers: what they are made with, and how they come into the settings."""
