"""Together's second generation of dedicated endpoints, in front of the same platform.

An endpoint is a name that routes requests to deployments; a deployment is what has a model, hardware and replicas. The registry and
what it is made of (`offers`, `autoscaling`, `masks`, `registry`, `events`) are pure, `views` and `routes` are their JSON over HTTP.
"""
