"""One thread for the products of matrices, on Linux, unless OPENBLAS_NUM_THREADS says otherwise.

A decoder step gains little from threads, and threads that spin while they wait for each other make two processes on
the same cores ten times slower, not two. OpenBLAS reads it when it is loaded, so this comes before NumPy.
"""

import os
import sys

if sys.platform == "linux":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
