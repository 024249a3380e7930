"""What the platform tells of itself: families of Prometheus metrics, made when they are scraped."""
