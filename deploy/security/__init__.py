"""What is dangerous in images, dependencies, configuration and history: scanned, judged, waived, recorded."""
