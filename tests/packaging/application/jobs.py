from heori import task


@task
def where() -> str:
    """From which module it is run."""
    return __name__
