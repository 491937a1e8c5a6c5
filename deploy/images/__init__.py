"""Images: the bases they stand on, how they are built, what they hold."""
