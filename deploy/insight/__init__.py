"""What runs, what ran, and how it went."""
