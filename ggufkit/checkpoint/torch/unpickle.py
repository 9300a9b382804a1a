"""Read the pickle of a torch checkpoint without running it.

A pickle is a program: it may import any function and call it. Here the opcodes that describe
tensors are interpreted by hand, and a global is only a name. `GLOBALS` lists the names that are
allowed; any other name, and any opcode that does not occur in checkpoints, is an error. There is
no fallback. ``pickletools`` splits the bytes into opcodes, and runs none of them.

A tensor is pickled as::

    _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)
    storage = persistent id ("storage", torch.BFloat16Storage, key, device, n_elements)
"""

from __future__ import annotations

import io
import pickletools
import warnings
from dataclasses import dataclass
from typing import Any

from ggufkit.errors import CheckpointError, UnsafePickleError

MAX_PICKLE_BYTES = 256 << 20
MAX_MEMO = 1_000_000
MAX_STACK = 10_000_000  # a state dict is one list of all its tensors before it is a dict
MAX_MARKS = 1_000
MAX_DIMS = 64

# torch's storage classes and dtypes: safetensors' name.
DTYPES = {
    "BoolStorage": "BOOL", "ByteStorage": "U8", "CharStorage": "I8", "ShortStorage": "I16",
    "IntStorage": "I32", "LongStorage": "I64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "FloatStorage": "F32", "DoubleStorage": "F64", "Float8_e4m3fnStorage": "F8_E4M3",
    "Float8_e5m2Storage": "F8_E5M2",
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip


@dataclass(frozen=True)
class Global:
    """A name that a pickle would import. It stays a name."""

    module: str
    name: str


@dataclass(frozen=True)
class Storage:
    """Elements in one entry of the archive; `dtype` is None if each tensor gives its own."""

    key: str
    dtype: str | None
    n_elements: int


@dataclass(frozen=True)
class PickledTensor:
    """A view of a storage. Offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Marks the beginning of a list of arguments on the stack."""


ORDERED_DICT = Global("collections", "OrderedDict")
_V2 = Global("torch._utils", "_rebuild_tensor_v2")
_V3 = Global("torch._utils", "_rebuild_tensor_v3")
_PARAMETER = Global("torch._utils", "_rebuild_parameter")
_UNTYPED = Global("torch.storage", "UntypedStorage")
# Quantized tensors are subclasses: safetensors stores their parts, a pickle calls their classes.
SUBCLASSES = {
    Global("torch._tensor", "_rebuild_from_type"),
    Global("torch._tensor", "_rebuild_from_type_v2"),
    Global("torch._utils", "_rebuild_wrapper_subclass"),
}
QUANTIZERS = {"torchao", "hqq", "bitsandbytes", "compressed_tensors"}
GLOBALS = {ORDERED_DICT, _V2, _V3, _PARAMETER, _UNTYPED, *(Global("torch", n) for n in DTYPES)}


def unpickle_tensors(data: bytes, where: str) -> dict[str, PickledTensor]:
    """Return the tensors of a state dict, in its order.

    Parameters
    ----------
    data : bytes
        The pickle.
    where : str
        Its name in error messages.

    Raises
    ------
    UnsafePickleError
        The pickle does anything but describe tensors.
    CheckpointError
        The pickle is damaged, or not a mapping of names to tensors.
    """
    try:
        with warnings.catch_warnings():  # pickletools warns about strings with odd escapes
            warnings.simplefilter("ignore", DeprecationWarning)
            found = _Interpreter(where).run(data)
    except (IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: damaged pickle: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{where}: expected a state dict, found {_describe(found)}")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, PickledTensor):
            raise CheckpointError(
                f"{where}: {str(name)[:200]!r} must be a tensor, found {_describe(value)}; "
                "save only the model's state dict, preferably as safetensors"
            )
    return found


def _describe(value: object) -> str:
    return value.name if isinstance(value, Global) else f"an object of type {type(value).__name__}"


class _Interpreter:
    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.n_marks = 0

    def run(self, data: bytes) -> Any:
        for opcode, argument, position in pickletools.genops(io.BytesIO(data)):
            if opcode.name == "STOP":
                return self.stack.pop()
            handler = _HANDLERS.get(opcode.name)
            if handler is None:
                raise UnsafePickleError(
                    f"{self.where}: opcode {opcode.name} at byte {position} does not belong in a "
                    "checkpoint; it was not run"
                )
            handler(self, argument)
            if len(self.stack) > MAX_STACK or len(self.memo) > MAX_MEMO:
                raise CheckpointError(f"{self.where}: damaged pickle: it grows without limit")
        raise ValueError("its end is missing")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.n_marks += 1
        if self.n_marks > MAX_MARKS:
            raise CheckpointError(f"{self.where}: damaged pickle: nested too deep")
        self.push(_Mark)

    def since_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _Mark:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                self.n_marks -= 1
                return items
        raise ValueError("a list has no beginning")

    def pop(self, n: int) -> tuple[Any, ...]:
        if n > len(self.stack):
            raise ValueError("the stack is empty")
        items = tuple(self.stack[-n:])
        del self.stack[-n:]
        return items

    def put(self, key: int | None) -> None:
        self.memo[len(self.memo) if key is None else key] = self.stack[-1]

    def get(self, key: int) -> None:
        self.push(self.memo[key])

    def global_(self, argument: str) -> None:
        self.resolve(*argument.split(" ", 1))

    def stack_global(self, _: Any) -> None:
        self.resolve(*self.pop(2))

    def resolve(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a global has no name")
        wanted = Global(module, name)
        if wanted in SUBCLASSES or module.partition(".")[0] in QUANTIZERS:
            raise UnsafePickleError(
                f"{self.where}: holds tensors of the class {module[:60]}.{name[:60]}, as torchao "
                "and HQQ make them; nothing was run. Save the model as safetensors, or dequantized"
            )
        if wanted not in GLOBALS:
            raise UnsafePickleError(
                f"{self.where}: imports {module[:100]!r}.{name[:100]!r}, which does not belong in "
                "a checkpoint; nothing was run. Do not load this file with other tools"
            )
        self.push(wanted)

    def persistent(self, _: Any) -> None:
        (identity,) = self.pop(1)
        if not isinstance(identity, tuple) or len(identity) != 5:
            raise ValueError("a storage has an invalid description")
        kind, storage, key, _device, n = identity
        if kind != "storage" or not isinstance(key, str) or type(n) is not int or n < 0:
            raise ValueError("a storage has an invalid description")
        if not isinstance(storage, Global) or not storage.name.endswith("Storage"):
            raise ValueError("a storage has an unknown type")
        self.push(Storage(key, DTYPES.get(storage.name), n))

    def reduce(self, _: Any) -> None:
        function, arguments = self.pop(2)
        if not isinstance(arguments, tuple):
            raise TypeError("a call has no arguments")
        if function == ORDERED_DICT and arguments in ((), ([],)):
            self.push({})
        elif function in (_V2, _V3):
            self.push(_tensor(arguments))
        elif function == _PARAMETER and arguments and isinstance(arguments[0], PickledTensor):
            self.push(arguments[0])
        else:
            raise UnsafePickleError(
                f"{self.where}: calls {_describe(function)}, which does not belong in a "
                "checkpoint; nothing was run"
            )

    def build(self, _: Any) -> None:
        """Drop the attributes of a state dict (``_metadata``)."""
        (_state,) = self.pop(1)
        if not isinstance(self.stack[-1], dict):
            raise UnsafePickleError(
                f"{self.where}: sets attributes of an object that is not a state dict"
            )

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("items are set on an object that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise TypeError("a key is neither text nor an integer")
            target[key] = value

    def append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("elements are added to an object that is not a list")
        self.stack[-1].extend(items)


def _tensor(arguments: tuple[Any, ...]) -> PickledTensor:
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage) or not all(isinstance(t, tuple) for t in (shape, strides)):
        raise ValueError("a tensor has an invalid description")
    if len(shape) != len(strides) or len(shape) > MAX_DIMS:
        raise ValueError("a tensor's shape and strides differ in length")
    if not all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor's shape or strides are not non-negative integers")
    dtype = storage.dtype
    if dtype is None:
        named = arguments[6] if len(arguments) > 6 else None
        dtype = DTYPES.get(named.name) if isinstance(named, Global) else None
    if dtype is None:
        raise ValueError("a tensor has no dtype")
    return PickledTensor(storage, dtype, offset, shape, strides)


_I = _Interpreter
_CONSTANTS = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
)
_HANDLERS: dict[str, Any] = {
    **dict.fromkeys(_CONSTANTS, _I.push),
    **dict.fromkeys(("PROTO", "FRAME"), lambda _self, _: None),
    "NONE": lambda self, _: self.push(None),
    "NEWTRUE": lambda self, _: self.push(True),
    "NEWFALSE": lambda self, _: self.push(False),
    "MARK": _I.mark,
    "EMPTY_DICT": lambda self, _: self.push({}),
    "EMPTY_LIST": lambda self, _: self.push([]),
    "EMPTY_TUPLE": lambda self, _: self.push(()),
    "TUPLE": lambda self, _: self.push(tuple(self.since_mark())),
    "TUPLE1": lambda self, _: self.push(self.pop(1)),
    "TUPLE2": lambda self, _: self.push(self.pop(2)),
    "TUPLE3": lambda self, _: self.push(self.pop(3)),
    "APPEND": lambda self, _: self.append(list(self.pop(1))),
    "APPENDS": lambda self, _: self.append(self.since_mark()),
    "SETITEM": lambda self, _: self.set_items(list(self.pop(2))),
    "SETITEMS": lambda self, _: self.set_items(self.since_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _I.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _I.get),
    "GLOBAL": _I.global_,
    "STACK_GLOBAL": _I.stack_global,
    "BINPERSID": _I.persistent,
    "REDUCE": _I.reduce,
    "BUILD": _I.build,
}
