"""`python -m vmkiln` is the command `vmkiln`."""

from vmkiln.cli.main import main

if __name__ == "__main__":
    main()
