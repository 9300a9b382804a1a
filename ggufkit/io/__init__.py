"""The ground: bytes on disk and on the network, independent of any format."""
