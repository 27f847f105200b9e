"""The proxy: an asyncio server that gives each app its own slice of a MongoDB cluster."""
