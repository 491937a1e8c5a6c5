"""An environment on its hosts: what is observed there, and what works on it."""
