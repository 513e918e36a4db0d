"""What requests do: how long they wait and compute, and what bounds the server."""
