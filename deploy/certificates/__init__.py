"""Certificates of the edge: obtained or brought, served without a restart, renewed by the host itself."""
