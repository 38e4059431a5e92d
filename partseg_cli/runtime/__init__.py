"""Devices, processes, signals, schedulers, profiling."""
