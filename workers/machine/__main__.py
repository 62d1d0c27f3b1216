"""Without options: the supervisor of this VM. With the options of a member: that member itself, at once."""

import sys

from workers.machine import member, supervisor

if __name__ == "__main__":
    sys.exit(member.main() if len(sys.argv) > 1 else supervisor.main())
