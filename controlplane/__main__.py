"""``python -m controlplane``: the ``keystead`` command."""

from controlplane.cli.main import run

if __name__ == "__main__":
    run()
