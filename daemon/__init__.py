"""leptond: reads cameras, detects, tracks, decides, records and publishes alerts that can be replayed."""
