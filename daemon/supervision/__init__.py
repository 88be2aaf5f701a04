"""The supervisor: processes, restarts, health, status, metrics, systemd."""
