"""Which workers there are and what each holds."""
