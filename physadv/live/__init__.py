"""The demo: one loop, one clock, sinks."""
