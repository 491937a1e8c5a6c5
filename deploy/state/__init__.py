"""What is kept on a host: journal, ledger, bundles, locks."""
