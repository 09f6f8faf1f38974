"""``python -m seg_batch`` is ``segbatch``."""

from seg_batch.cli.main import main

if __name__ == "__main__":
    main()
