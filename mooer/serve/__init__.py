"""Speech recognition over HTTP and WebSocket: requests are joined into batches and answered as OpenAI's audio API does."""
