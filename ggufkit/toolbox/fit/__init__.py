"""Which rung of a ladder a machine can run, and how."""
