"""A platform in a box: what Together's dedicated endpoints do, as a pure state machine on a clock, and one HTTP face.

The core (`agenda`, `replica`, `autoscaler`, `billing`, `endpoint`, `platform`) takes ``now`` as an argument and touches neither
clock nor network; `simulate` runs it through a day in seconds, `http` serves it to the real Together clients.
`management` is the provider's first API in front of it, `v2` its second.
"""
