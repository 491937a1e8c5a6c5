"""Triage, playbooks, DORA's metrics, and the eight gates: what joins the other packages."""
