"""Every limit of the format layer, with its reason.

Counts are first compared with the bytes that remain, so that no limit is needed to keep memory
in proportion to the file; these numbers are what llama.cpp can read, or what the format says.
"""

#: ``GGUF_MAX_STRING_LENGTH`` of gguf.cpp.
MAX_STRING_BYTES = 1 << 30
#: ``GGUF_MAX_ARRAY_ELEMENTS`` of gguf.cpp.
MAX_ARRAY_ITEMS = 1 << 30
#: docs/gguf.md: a key is at most 2^16 - 1 bytes long.
MAX_KEY_BYTES = (1 << 16) - 1
#: ``GGML_MAX_NAME`` is 64, its terminating NUL included.
MAX_NAME_BYTES = 63
#: ``GGML_MAX_DIMS``.
MAX_DIMS = 4
#: Arrays in arrays: no file needs more, and recursion has to end.
MAX_NESTING = 4
#: docs/gguf.md: the alignment is a multiple of 8.
MIN_ALIGNMENT = 8
#: Larger than any page or stripe; above it, padding would be a way to make files huge.
MAX_ALIGNMENT = 1 << 20
#: Sizes are int64 in ggml.
MAX_BYTES = (1 << 63) - 1

#: Least bytes of a key-value pair: key length, 1 byte of key, value type, 1 byte of value.
MIN_PAIR_BYTES = 8 + 1 + 4 + 1
#: Least bytes of a tensor info: name length, dimension count, type, offset.
MIN_TENSOR_BYTES = 8 + 4 + 4 + 8

#: What a part's number and count (uint16) can hold.
MAX_PARTS = (1 << 16) - 1

#: Highest id of a tensor type that a lenient reader takes for a type to come: ggml has 43 so far.
MAX_TYPE_ID = 65535
#: No header of a model is nearly as long.
MAX_HEADER_BYTES = 1 << 30
