"""The server: WebSocket, page, health and metrics on one port."""
