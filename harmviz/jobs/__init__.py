"""A job is a command line started from the Runs page, in a process group that outlives the page and the server.

- ``record``: a job as it lies on disk: its command, state, progress, error;
- ``control``: start (one at a time), cancel, resume, forget; prompt files that were uploaded;
- ``__main__``: the small process that stands over the command, keeps its log and writes down how it ended.

No torch, no streamlit.
"""

from harmviz.jobs.control import Upload, cancel, check_upload, forget, resume, running_job, start
from harmviz.jobs.record import Job, JobProgress, list_jobs

__all__ = [
    "Job",
    "JobProgress",
    "Upload",
    "cancel",
    "check_upload",
    "forget",
    "list_jobs",
    "resume",
    "running_job",
    "start",
]
