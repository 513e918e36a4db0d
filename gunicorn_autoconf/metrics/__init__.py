"""The arbiter's facts for machines: metrics for Prometheus and for statsd."""
