"""What makes a machine a member of the pool, from its first second to its last: `python -m workers.machine`.

`supervisor` speaks with the world around the VM (metadata, registrar) and watches; `member` is the Dask worker that
it starts for each GPU. Nothing here knows a secret but the machine's own key, which never leaves it.
"""
