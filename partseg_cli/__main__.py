"""Run `partseg` as `python -m partseg_cli`."""

from partseg_cli.cli.app import main

if __name__ == "__main__":
    main()
