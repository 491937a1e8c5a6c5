"""What everything stands on: errors, commands as values, the console, polling."""
