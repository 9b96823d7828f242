"""Where engines start the hook: `python -I -S hook_start.py …`, see `cli.hook_call`.

Python compiles the file it is given at every start; what is imported it keeps compiled.
"""

import sys

sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0])

from cli.hook_call import main

sys.exit(main(sys.argv[1:]))
