"""The numbers of the design, measured side by side with plain Docker Compose."""
