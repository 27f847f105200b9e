"""The kernel: logical commands become physical ones, replies the app's own words again."""
