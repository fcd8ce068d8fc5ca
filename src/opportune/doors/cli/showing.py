"""The command `demo`."""
import typer
def demo(ctx: typer.Context) -> None:
    """Show it."""
