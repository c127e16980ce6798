//! What a job may do to the machine that it runs on, and what the machine may do to a run.
