"""The tests run on one thread each, as `make test` has two of them side by side: set before torch is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
