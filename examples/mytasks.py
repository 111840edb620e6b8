"""Tasks of your own; examples/Dockerfile builds an image with them."""

from heori import task


@task(queue="greetings", timeout=10)
def greet(name: str, times: int = 1) -> str:
    """Greet somebody, and perhaps again."""
    return " ".join([f"Hello, {name}!"] * times)
