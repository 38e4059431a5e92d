"""`python -m partseg_cli` is the `partseg` command."""

from partseg_cli.cli.app import main

if __name__ == "__main__":
    main()
