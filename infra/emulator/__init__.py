"""Compute Engine on this computer, for those who rent machines of it: true answers, true states, and trouble at will.

`world` is the cloud as a value: it is told the time and knows neither HTTP nor processes. `api` speaks for it in the
words of the discovery document, `guests` runs what its machines would run, `metadata` tells a machine about itself, and
`control` takes orders for trouble. `python -m infra.emulator` puts them together; `remote` is how others talk to it.
"""
