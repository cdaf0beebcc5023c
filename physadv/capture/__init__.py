"""Light in: webcams, files, streams, folders, a browser, the built-in sample."""
