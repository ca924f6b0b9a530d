"""A stand-in for ctypes: there are no shared libraries here to load.

Some packages import ctypes for a corner of their work. They find the names that they need to be imported, and an error
that says why when they go further.
"""

import errno

REASON = "there are no shared libraries in this sandbox"


class CDLL:
    def __init__(self, *args, **kwargs):
        raise OSError(errno.ENOTSUP, REASON)


PyDLL = CDLL


class _Loader:
    def LoadLibrary(self, name):
        return CDLL(name)

    def __getattr__(self, name):
        return CDLL(name)


cdll = pydll = _Loader()


class _Number:
    size = 4

    def __init__(self, value=0):
        self.value = value


def _numbers(size, *names):
    for name in names:
        globals()[name] = type(name, (_Number,), {"__module__": __name__, "size": size})


# As wide as a 32-bit machine has them, which this is.
_numbers(1, "c_bool", "c_char", "c_byte", "c_ubyte", "c_int8", "c_uint8")
_numbers(2, "c_short", "c_ushort", "c_int16", "c_uint16")
_numbers(4, "c_int", "c_uint", "c_long", "c_ulong", "c_int32", "c_uint32", "c_size_t", "c_ssize_t", "c_float", "c_wchar",
         "c_void_p", "c_char_p", "c_wchar_p", "py_object")
_numbers(8, "c_longlong", "c_ulonglong", "c_int64", "c_uint64", "c_double")


class Structure:
    pass


class Union:
    pass


def sizeof(kind):
    return kind.size


def _refuse(*args, **kwargs):
    raise OSError(errno.ENOTSUP, REASON)


byref = pointer = POINTER = cast = addressof = create_string_buffer = create_unicode_buffer = string_at = CFUNCTYPE = _refuse
