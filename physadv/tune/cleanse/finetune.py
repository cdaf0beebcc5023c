"""Plain fine-tuning on clean images: the baseline that every method has to beat."""

from __future__ import annotations

from physadv.tune.cleanse.job import Cleansed, CleanseJob


def finetune(job: CleanseJob) -> Cleansed:
    """Fine-tune the detector of a job on its clean images."""
    tuned = job.tune("tuned", job.network())
    return Cleansed(tuned.network, tuned.details(), tuned.record["seconds"])
