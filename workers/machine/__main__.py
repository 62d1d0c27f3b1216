"""The entry of a rented machine's container."""

import sys

from workers.machine import supervisor

if __name__ == "__main__":
    sys.exit(supervisor.main())
