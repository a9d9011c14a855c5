"""Joins the parts of a split GGUF file (``…-00001-of-00003.gguf``) to one, as transformers reads single files only.

The first part holds the metadata, each part some of the tensors; what the parts say of the split itself is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmviz.errors import ModelUnavailable

_OF_THE_SPLIT = ("split.no", "split.count", "split.tensors.count")


def join_gguf(parts: Sequence[Path], target: Path) -> None:
    """Writes ``target``, one GGUF file with the metadata of the first part and the tensors of all.

    Raises:
        ModelUnavailable: a part cannot be read, or the parts do not belong together.
    """
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    try:
        readers = [GGUFReader(part) for part in parts]
        first = readers[0]
        writer = GGUFWriter(target, str(first.fields["general.architecture"].contents()))
        for name, field in first.fields.items():
            if name.startswith("GGUF.") or name in (*_OF_THE_SPLIT, "general.architecture"):
                continue
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
        counted = first.fields.get("split.tensors.count")
        tensors = [tensor for reader in readers for tensor in reader.tensors]
        if counted is not None and int(counted.contents()) != len(tensors):
            raise ValueError(f"the first part counts {int(counted.contents())} tensors, the parts hold {len(tensors)}")
        for tensor in tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_shape=tensor.data.shape, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    except Exception as e:  # a damaged file makes the reader fail in many ways
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise ModelUnavailable(
            f"{parts[0]} and its {len(parts) - 1} further parts cannot be joined ({reason}); copy or download them "
            "again"
        ) from e
