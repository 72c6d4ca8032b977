"""`python -m experiments NAME [SWEEP...]` writes results/NAME/; `make reproduce EXP=NAME` runs the sweeps first."""

from __future__ import annotations

from pathlib import Path

from tgpo.errors import Parser, exit_on_error


def main() -> None:
    from experiments.catalogue import CATALOGUE
    from experiments.results import publish

    parser = Parser(prog="python -m experiments", description=__doc__)
    parser.add_argument("name", choices=CATALOGUE, metavar="NAME", help=", ".join(CATALOGUE))
    parser.add_argument(
        "sweeps", nargs="*", type=Path, metavar="SWEEP", help="the sweeps' folders (default: the newest)"
    )
    parser.add_argument("--add", action="store_true", help="add the sweeps' runs to those that are committed")
    parser.add_argument("--again", action="store_true", help="from the committed runs.csv, without the runs")
    parser.add_argument("--page", action="store_true", help="the page of what is committed, results/NAME/report.html")
    args = parser.parse_intermixed_args()  # sweeps may come after --add
    if (args.again or args.page) and (args.add or args.sweeps or args.again == args.page):
        parser.error("--again and --page read no sweep; leave out the others")
    if args.page:
        from experiments.published import write_published_page

        print(f"report  {write_published_page(CATALOGUE[args.name])}")
        return
    written = publish(CATALOGUE[args.name], None if args.again else args.sweeps, args.add)
    print(written.read_text(encoding="utf-8"))


if __name__ == "__main__":
    with exit_on_error():
        main()
