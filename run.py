"""The command: `python run.py --help` lists what can be composed. The installed command `tgpo` is the same."""

from tgpo.cli.main import main

if __name__ == "__main__":
    main()
