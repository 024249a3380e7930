"""Records of any data type in this package's own JSON: what `query --json` prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pydantic import ValidationError as PydanticError

from neo_polystore.loaders.base import BadRecord, Item, Loaded, LoadOptions, bad
from neo_polystore.loaders.json_stream import elements
from neo_polystore.loaders.json_text import an_object, json_lines
from neo_polystore.loaders.source import Source
from neo_polystore.records.base import Record, problems_of

_ANSWER = re.compile(rb'\s*\{\s*"records"\s*:\s*\[')


def own(model: type[Record]) -> Callable[[Source, LoadOptions], Iterator[Item]]:
    """A loader of records of this model: JSON lines, an array, or an object with `records`."""

    def load(source: Source, options: LoadOptions) -> Iterator[Item]:
        head = source.head()
        if _ANSWER.match(head):
            found = elements(source, "records")
        elif head.lstrip().startswith(b"["):
            found = elements(source)
        else:
            found = json_lines(source)
        for element in found:
            checked = element if isinstance(element, BadRecord) else an_object(element)
            if isinstance(checked, BadRecord):
                yield checked
                continue
            try:
                yield Loaded(checked.number, model.model_validate_json(checked.text))
            except PydanticError as error:
                yield bad(checked.number, problems_of(error))

    return load
