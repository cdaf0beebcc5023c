"""Many tasks on many workers: evaluations of videos by a manifest, sweeps of trainings, on local processes or on Ray."""
