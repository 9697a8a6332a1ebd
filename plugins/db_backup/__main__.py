"""``python -m db_backup`` is ``db-backup``."""

import sys

from db_backup.cli.main import main

sys.exit(main())
