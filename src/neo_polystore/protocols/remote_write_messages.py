"""The Protobuf messages of Prometheus remote write 1.0 and 2.0, as far as they are read here.

Field numbers are those of https://prometheus.io/docs/specs/prw/remote_write_spec/ and
.../remote_write_spec_2_0/. What is text or a message there is `bytes` here: the runtime cuts a
request into pieces, and the pieces that are alike or unknown to us are never parsed.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_BYTES: Final = FieldDescriptorProto.TYPE_BYTES
_DOUBLE: Final = FieldDescriptorProto.TYPE_DOUBLE
_INT64: Final = FieldDescriptorProto.TYPE_INT64
_UINT32: Final = FieldDescriptorProto.TYPE_UINT32
_MANY: Final = FieldDescriptorProto.LABEL_REPEATED
_ONE: Final = FieldDescriptorProto.LABEL_OPTIONAL

_MESSAGES: Final = {
    "WriteRequest": (("timeseries", 1, _BYTES, _MANY),),
    "TimeSeries": (
        ("labels", 1, _BYTES, _MANY),
        ("samples", 2, _BYTES, _MANY),
        ("exemplars", 3, _BYTES, _MANY),
        ("histograms", 4, _BYTES, _MANY),
    ),
    "Label": (("name", 1, _BYTES, _ONE), ("value", 2, _BYTES, _ONE)),
    "Sample": (("value", 1, _DOUBLE, _ONE), ("timestamp", 2, _INT64, _ONE)),
    "Request2": (("symbols", 4, _BYTES, _MANY), ("timeseries", 5, _BYTES, _MANY)),
    "TimeSeries2": (
        ("labels_refs", 1, _UINT32, _MANY),
        ("samples", 2, _BYTES, _MANY),
        ("histograms", 3, _BYTES, _MANY),
        ("exemplars", 4, _BYTES, _MANY),
        ("metadata", 5, _BYTES, _ONE),
    ),
    "Metadata2": (("unit_ref", 4, _UINT32, _ONE),),
}


def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="remote_write.proto", package="neo", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            message.field.add(name=field, number=number, type=kind, label=label)
    pool = DescriptorPool()
    pool.Add(file)
    return pool


_POOL: Final = _pool()


def _message(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"neo.{name}"))


WriteRequest: Final = _message("WriteRequest")
TimeSeries: Final = _message("TimeSeries")
Label: Final = _message("Label")
Sample: Final = _message("Sample")
Request2: Final = _message("Request2")
TimeSeries2: Final = _message("TimeSeries2")
Metadata2: Final = _message("Metadata2")
