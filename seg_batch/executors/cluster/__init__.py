"""The cluster beneath a pool: which one, started how, with what certificates, and its workers looked at."""
