"""The ground: bytes on disk and on the wire, which know no format."""
