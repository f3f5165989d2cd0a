"""What can be seen from outside: logs, Prometheus metrics, and the admin server with health, status and explanations."""
